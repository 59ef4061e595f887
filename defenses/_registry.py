"""The registry of defences; the name of an attack means adversarial training with that attack."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from advkit.attacks import create_attack, list_attacks
from advkit.core.errors import check_given, unknown, warn
from advkit.core.norms import get_norm
from advkit.core.registry import Registry, Spec
from advkit.core.words import beyond_the_range
from advkit.defenses._loss import TrainingLoss
from advkit.defenses.probe import radius_of


class Defense(Protocol):
    """A training loss: it is called in a training loop in place of the cross-entropy."""

    @property
    def spec(self) -> str:
        """The spec string from which `create_defense` creates this defence again."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""


DEFENSES: Registry[Defense] = Registry(
    "defense", "advkit.defenses", example="trades(eps=0.3, steps=10)", values={"eps": "0.1", "attack": "pgd(eps=0.1)"}
)

D = TypeVar("D", bound="type[Any]")


def register_defense(name: str) -> Callable[[D], D]:
    """Class decorator that registers the training loss under this name.

    Args:
        name: name under which `create_defense` finds the loss.
    """

    def keep(cls: D) -> D:
        cls.name = name
        return DEFENSES.register(name)(cls)

    return keep


def list_defenses(pattern: str = "*") -> list[str]:
    """Return the names of the defences that match a shell pattern; the names of attacks work too.

    Args:
        pattern: shell pattern such as "*fgsm"; default: all names.
    """
    return DEFENSES.names(pattern)


def create_defense(spec: str | Spec, **options: Any) -> Defense:
    """Create a defence from its name or spec; `options` override those of the spec.

    The spec may name a defence: "trades(attack=pgd(eps=0.3, steps=40), beta=6)". Options that the defence does not have
    belong to the attack inside: "trades(eps=0.3, steps=40, beta=6)" is the same. Or it names an attack,
    "fgsm(eps=0.25, alpha=0.5)", for adversarial training with it.

    Args:
        spec: name or spec of a defence, or of an attack for adversarial training.
        **options: options of the defence or of the attack inside; they override those of the spec.

    Raises:
        InputError: the name or an option is unknown, or defence or attack refuse a value.

    Warns:
        AdvkitWarning: the radius lets every pixel take any value, as 8 does where 8/255 was meant.
    """
    made = _made(spec, options)
    radius = radius_of(made) if isinstance(made, TrainingLoss) and tuple(made.bounds) == (0, 1) else None
    if radius is not None and math.isfinite(radius[0]):
        beyond = beyond_the_range(radius[0], get_norm(radius[1]).boxed)
        if beyond:
            warn(beyond)
    return made


def _made(spec: str | Spec, options: dict[str, Any]) -> Defense:
    check_given("spec", spec, (str, Spec), "text such as 'trades(eps=0.3)'")
    spec = DEFENSES.read(spec) if isinstance(spec, str) else spec
    given = {**spec.options, **options}
    if spec.name in list_defenses():
        return _create(spec.name, {k: _part(k, v) for k, v in given.items()})
    if spec.name not in list_attacks():
        raise unknown("defense", spec.name, [*list_defenses(), *list_attacks()])
    own = _fields("adversarial")
    attack = create_attack(Spec(spec.name, {k: v for k, v in given.items() if k not in own}))
    return DEFENSES.create("adversarial", attack=attack, **{k: v for k, v in given.items() if k in own})


def _create(name: str, given: dict[str, Any]) -> Defense:
    """With an attack, or a loss, made of the options that the defence has not."""
    own, factory = _fields(name), DEFENSES.factory(name)
    rest = {k: v for k, v in given.items() if k not in own}
    given = {k: v for k, v in given.items() if k in own}
    inside = getattr(factory, "inside", "")
    if rest and "loss" in own and "loss" not in given:
        given["loss"] = create_defense(Spec("adversarial", {"alpha": 0, **rest}))
    elif rest and inside and "attack" not in given:
        given["attack"] = create_attack(Spec(inside, rest))
    else:
        given |= rest  # unknown: the registry says so
    return DEFENSES.create(Spec(name, given))


def _part(option: str, value: Any) -> Any:
    """An attack or a loss inside, from its spec."""
    if option == "attack" and isinstance(value, str | Spec):
        return create_attack(value)
    if option == "loss" and isinstance(value, str | Spec):
        return create_defense(value)
    return value.name if isinstance(value, Spec) and not value.options else value


def _fields(name: str) -> set[str]:
    return {f.name for f in fields(DEFENSES.factory(name)) if f.init}  # type: ignore[arg-type]
