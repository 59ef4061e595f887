"""The registry of networks, and the decorator that registers one."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import nn

from advkit.core.door import check_count, check_positive, check_shape, check_torch_seed
from advkit.core.errors import InputError
from advkit.core.option_numbers import shown
from advkit.core.plain import is_integer, is_real, numbers_in, plain
from advkit.core.registry import Registry
from advkit.models._card import Card
from advkit.models._classifier import Classifier, evaluated_parameters

MODELS: Registry[Classifier] = Registry("model", "advkit.models", example="lenet5(width=0.5)")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts that the table of models prints beside the counts.

    Attributes:
        name: registered name.
        paper: authors, title, source.
        year: year of the paper.
        parameters: number of parameters at the paper's size, without auxiliary classifiers; None if the paper does not
            give sizes.
        auxiliary: number of parameters of the auxiliary classifiers, used in training only.
        small_width: the `width` of the shipped checkpoints: at most a million parameters at (1, 32, 32), 10 classes.
        licence: licence of the code and of the weights that ship.
    """

    name: str
    paper: str
    year: int
    parameters: int | None
    auxiliary: int = 0
    small_width: float = 1.0
    licence: str = "MIT"


FACTS: dict[str, Facts] = {}
_COMMON: Mapping[str, Any] = {"mean": None, "std": None, "seed": None}


def register_model(
    name: str,
    *,
    paper: str,
    year: int,
    parameters: int | None,
    auxiliary: int = 0,
    small_width: float = 1.0,
    licence: str = "MIT",
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register a factory `(*, input_shape, num_classes, width, ...) -> nn.Module`, as its decorator.

    The factory's defaults are the paper's. The module takes normalised images and returns logits; `create_model`
    puts `Normalize` and a card around it.

    Args:
        name: name under which `create_model` finds the network.
        paper: authors, title and source of the paper.
        year: year of the paper.
        parameters: number of parameters at the paper's size, without auxiliary classifiers; None if the paper does not
            give it.
        auxiliary: number of parameters of the auxiliary classifiers.
        small_width: width of the shipped checkpoints.
        licence: licence of the code and of the weights that ship.

    Raises:
        InputError: a number is outside its range, or none.
    """
    facts = Facts(
        name=name,
        paper=paper,
        year=check_count("year", year),
        parameters=None if parameters is None else check_count("parameters", parameters),
        auxiliary=check_count("auxiliary", auxiliary, least=0),
        small_width=check_positive("small_width", small_width),
        licence=licence,
    )

    def keep(factory: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        MODELS.register(name)(_builder(facts, factory))
        FACTS[name] = facts
        return factory

    return keep


def _builder(facts: Facts, factory: Callable[..., nn.Module]) -> Callable[..., Classifier]:
    """The factory with a checked door, `Normalize`, a card, and the options mean, std, seed."""
    signature = inspect.signature(factory)
    defaults = {p.name: p.default for p in signature.parameters.values()}
    if not {"input_shape", "num_classes", "width"} <= defaults.keys():
        raise TypeError(f"the factory of model {facts.name!r} must take input_shape=, num_classes= and width=")

    @wraps(factory)
    def build(*, mean: Any = None, std: Any = None, seed: int | None = None, **options: Any) -> Classifier:
        seed = None if seed is None else check_torch_seed(seed)
        options = _checked({**defaults, **options})
        mean, std = _statistics(options["input_shape"][0], mean, std)
        net = seeded(lambda: factory(**options), seed)
        return Classifier(net, mean=mean, std=std, card=_card(facts, net, {**options, "mean": mean, "std": std}, seed))

    extra = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in _COMMON.items()]
    build.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *extra])  # type: ignore[attr-defined]
    return build


def _card(facts: Facts, net: nn.Module, options: dict[str, Any], seed: int | None) -> Card:
    return Card(
        name=facts.name,
        paper=facts.paper,
        input_shape=options["input_shape"],
        num_classes=options["num_classes"],
        parameters=evaluated_parameters(net),
        options=options,
        width=options["width"],
        seed=seed,
        licence=facts.licence,
    )


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples, Python's numbers, and a clear error for the three options that every network has."""
    options = {k: tuple(map(plain, v)) if isinstance(v, list | tuple) else plain(v) for k, v in options.items()}
    options["input_shape"] = check_shape("input_shape", options["input_shape"], axes=3)
    classes, width = options["num_classes"], options["width"]
    if not is_integer(classes) or classes < 2:
        raise InputError(f"expected num_classes of at least 2, got {shown(classes)}")
    if not is_real(width) or not 0 < width < math.inf:
        raise InputError(f"expected a width above 0 (1 is the paper's), got {shown(width)}")
    return options


def _statistics(channels: int, mean: Any, std: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and sd by channel: those given, else MNIST's for one channel, ImageNet's for three."""
    known = {1: ((0.1307,), (0.3081,)), 3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
    means, stds = known.get(channels, ((0.5,) * channels, (0.25,) * channels))
    return _spread(means if mean is None else mean, channels), _spread(stds if std is None else std, channels)


def _spread(value: Any, channels: int) -> tuple[float, ...]:
    values = numbers_in(value) or ()
    values = values * channels if len(values) == 1 else values
    if len(values) != channels:
        raise InputError(f"expected one mean and one std, or one a channel ({channels}), got {shown(value)}")
    return values


def seeded(build: Callable[[], nn.Module], seed: int | None) -> nn.Module:
    """Build with the caller's random state, or from a seed, which leaves the caller's state unchanged."""
    if seed is None:
        return build()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
        return build()


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that match a shell pattern: `list_models("vgg*")`.

    Args:
        pattern: shell pattern such as "vgg*"; default: all names.
    """
    return MODELS.names(pattern)


def facts(name: str) -> Facts:
    """Return paper, year, the paper's count and the licence of a registered name.

    Args:
        name: registered name of a network.

    Raises:
        UnknownNameError: there is no such name.
    """
    MODELS.factory(name)
    return FACTS[name]
