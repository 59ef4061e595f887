"""Networks by reference: `torchvision:resnet50`, `timm:NAME`, `hf:ORG/NAME`, `onnx:FILE`, `module:factory`."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from statistics import fmean
from typing import Any

from torch import nn

from advkit.core.door import check_count, check_torch_seed
from advkit.core.errors import InputError, unknown
from advkit.core.files import user_path
from advkit.core.imported import call, find, needed, parameters_of
from advkit.core.model_checks import check_model
from advkit.core.plain import numbers_in, plain
from advkit.core.registry import Spec, parse_spec
from advkit.models._card import RANDOM, Card
from advkit.models._classifier import Classifier, parameters
from advkit.models._hub import Snapshot, snapshot
from advkit.models._hub_networks import State, hub_network
from advkit.models._onnx import black_box
from advkit.models._registry import seeded
from advkit.models._robustbench import architecture

log = logging.getLogger(__name__)
_OF_PUBLISHED: dict[str, dict[str, Any]] = {  # what torchvision sets where it builds these with published weights
    "googlenet": {"transform_input": True, "aux_logits": False},
    "inception_v3": {"transform_input": True},
}
_RESERVED = (
    "weights",
    "weights_backbone",
    "pretrained",
    "pretrained_cfg",
    "checkpoint_path",
    "progress",
    "name",
    "model_name",
)


def is_reference(name: str) -> bool:
    """Return whether a name has the form SOURCE:NAME."""
    return ":" in name.partition("(")[0]


def runs_code(name: str) -> bool:
    """Return whether a name has the form package.module:factory, which imports and runs code of the caller's choice."""
    return is_reference(name) and not name.startswith(("torchvision:", "timm:", "robustbench:", "hf:", "onnx:"))


def split_reference(name: str) -> tuple[str, dict[str, Any]]:
    """`"timm:resnet18(in_chans=1)"` -> ("timm:resnet18", {"in_chans": 1}).

    Raises:
        InputError: the brackets hold anything but options with plain values.
    """
    end = _file_end(name)
    bare, bracket, inside = (name[:end], *name[end:].partition("(")[1:]) if end else name.partition("(")
    if not bracket:
        return name.strip(), {}
    try:
        options = parse_spec(f"reference({inside}").options
    except InputError as error:
        raise InputError(
            f"cannot read the model {name!r}: expected SOURCE:NAME(option=value, ...), such as "
            "'timm:resnet18(in_chans=1)'"
        ) from error
    return bare.strip(), {key: value.name if isinstance(value, Spec) else value for key, value in options.items()}


def _file_end(name: str) -> int | None:
    """Where the path ends in a reference to a file or folder that exists; its name may have brackets."""
    source, _, entry = name.partition(":")
    if source not in ("onnx", "hf") or not entry:
        return None
    ends = [len(entry), *(i for i in reversed(range(1, len(entry))) if entry[i] == "(")]
    found = (end for end in ends if user_path(entry[:end].strip()).exists())
    return next((len(source) + 1 + end for end in found), None)


def create_reference(name: str, options: dict[str, Any], *, pretrained: bool = False) -> Classifier:
    """Build the network that a reference names, behind `Normalize`, in train mode.

    Args:
        name: "torchvision:NAME", "timm:NAME", "onnx:FILE" or "package.module:factory"; the last imports and runs that
            code.
        options: `mean` and `std` of `Normalize` (default: those of the published weights; of a factory: 0 and 1);
            `input_shape` for the card, and for a factory that takes it; `seed` of the random weights (default: torch's
            global state); the rest goes to the factory.
        pretrained: whether to take the ImageNet weights of torchvision or timm, downloaded unless they are in their
            cache.

    Raises:
        InputError: there is nothing of that name, it does not take an option, or a download failed.
    """
    source, _, entry = name.partition(":")
    options = {key: plain(value) for key, value in options.items()}
    seed = options.pop("seed", None)
    seed = None if seed is None else check_torch_seed(seed)
    if runs_code(name):
        if pretrained:
            raise InputError(
                f"'imagenet' weights exist for torchvision:NAME and timm:NAME, not for {name}: give a file"
            )
        return _factory(name, source, entry, seed, options)
    if source == "onnx":
        return _onnx(name, options, pretrained=pretrained)
    if source == "hf" and not pretrained:
        return from_snapshot(snapshot(entry), seed, options)
    if source in ("robustbench", "hf"):
        if pretrained:
            other = "'hub'" if source == "hf" else "a file"
            raise InputError(
                f"'imagenet' weights exist for torchvision:NAME and timm:NAME, not for {name}: give {other}"
            )
        net, known = architecture(entry, seed, options)
        return _classifier(name, net, known, options, seed=seed, licence="see robustbench")
    check_reference(name)
    if "num_classes" in options:
        check_count("num_classes", options["num_classes"], least=0)  # 0: timm's features
    for option in _RESERVED:
        if option in options:
            raise InputError(
                f"{name} does not take {option}= here: choose the weights with load_model(..., weights=...)"
            )
    return (_torchvision if source == "torchvision" else _timm)(entry, pretrained, seed, options)


def from_snapshot(
    found: Snapshot, seed: int | None, options: Mapping[str, Any], state: State | None = None
) -> Classifier:
    """Build the network that a repository of the hub describes, with these weights of transformers or random ones.

    Args:
        found: the files of the repository.
        seed: seed of the random weights.
        options: `mean`, `std` and `input_shape`, which override the preprocessor's.
        state: the weights, of a network of transformers.

    Raises:
        InputError: the files describe no image classifier, or the weights do not fit.
    """
    net, known, said = hub_network(found, seed, options, state)
    source = RANDOM if state is None else f"{found.source}{f' ({said})' if said else ''}"
    licence = str(known.pop("licence", None) or "see the hub")
    return _classifier(found.name, net, known, {}, seed=seed, source=source, licence=licence)


def _onnx(name: str, options: dict[str, Any], *, pretrained: bool) -> Classifier:
    if pretrained:
        raise InputError(f"{name} holds its own weights: leave weights out")
    net, known = black_box(name.partition(":")[2], options)
    given = {key: value for key, value in options.items() if key not in known}
    source = f"{name.partition(':')[2]}, run by ONNX Runtime{known.pop('note')}"
    return _classifier(name, net, known, given, source=source, licence="unknown")


def check_reference(name: str) -> None:
    """Raise an error for a torchvision or timm network that does not exist, without building it."""
    source, _, entry = name.partition(":")
    if source == "torchvision":
        from torchvision import models

        if entry not in models.list_models(models):
            raise unknown("torchvision classifier", entry, models.list_models(models))
    if source == "timm":
        timm = needed("timm", "timm:NAME", "timm")
        if not timm.is_model(entry.split(".")[0]):
            raise unknown("timm model", entry, timm.list_models())


def _torchvision(entry: str, pretrained: bool, seed: int | None, options: dict[str, Any]) -> Classifier:
    from torchvision import models

    weights = torchvision_weights(entry)
    known = metadata(weights)
    known.update({k: options.pop(k) for k in ("mean", "std", "input_shape") if k in options})
    known["num_classes"] = options.get("num_classes", known["num_classes"])
    arguments = {**options, "name": entry, "weights": weights if pretrained else None}

    def build() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # googlenet and inception_v3 on their initialisation
            net: nn.Module = _call(f"torchvision:{entry}", models.get_model, arguments, (TypeError, ValueError))
            return net

    if not pretrained:
        return _classifier(f"torchvision:{entry}", seeded(build, seed), known, options, seed=seed)
    with downloading(f"torchvision:{entry}", weights.url):
        net = build()
    options = {**_OF_PUBLISHED.get(entry, {}), **options}
    return _classifier(f"torchvision:{entry}", net, known, options, **imagenet_card(weights))


def _timm(entry: str, pretrained: bool, seed: int | None, options: dict[str, Any]) -> Classifier:
    timm = needed("timm", "timm:NAME", "timm")
    given: dict[str, Any] = {k: options.pop(k) for k in ("mean", "std", "input_shape") if k in options}
    arguments = {**options, "model_name": entry, "pretrained": pretrained}
    refusals = (TypeError, ValueError)
    with downloading(f"timm:{entry}") if pretrained else nullcontext():
        net = seeded(lambda: _call(f"timm:{entry}", timm.create_model, arguments, refusals), seed)
    config = getattr(net, "pretrained_cfg", None) or {}
    known: dict[str, Any] = {
        "mean": config.get("mean", 0.0),
        "std": config.get("std", 1.0),
        "input_shape": config.get("input_size"),
        "num_classes": getattr(net, "num_classes", None),
        **_of_other_images(config, options),
        **given,
    }
    fields: dict[str, Any] = {"licence": str(config.get("license") or "see timm"), "seed": seed}
    if pretrained:
        fields.update(source=f"timm {entry}", data="imagenet", trained_on="imagenet:train", seed=None)
    return _classifier(f"timm:{entry}", net, known, options, **fields)


def _of_other_images(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Shape and normalisation of a timm network that is built for other channels or sizes than it was published for.

    Other channels than the published ones get the mean of the published numbers each.
    """
    channels, *sides = config.get("input_size") or (3, 224, 224)
    size = options.get("img_size")
    if size is not None:
        sides = list(size) if isinstance(size, tuple | list) else [size, size]
    found: dict[str, Any] = {"input_shape": (options.get("in_chans", channels), *sides)}
    if options.get("in_chans", channels) != channels:
        found |= {key: fmean(config[key]) for key in ("mean", "std") if key in config}
    return found


def _factory(name: str, module: str, attribute: str, seed: int | None, options: dict[str, Any]) -> Classifier:
    factory = _find(name, module, attribute)
    known = {
        "mean": options.pop("mean", 0.0),
        "std": options.pop("std", 1.0),
        "num_classes": options.get("num_classes"),
    }
    known["input_shape"] = options.get("input_shape")
    if "input_shape" not in parameters_of(factory):
        options.pop("input_shape", None)
    log.info("running the code of %s", name)
    net = seeded(lambda: _call(name, factory, options), seed)
    if not isinstance(net, nn.Module):
        raise InputError(f"expected {name} to return a torch.nn.Module, got {type(net).__name__}")
    check_model(net)
    if isinstance(net, Classifier):
        return net
    return _classifier(
        name, net, known, options, seed=seed, source=f"built by {name}, whose code was run", licence="unknown"
    )


def _find(name: str, module: str, attribute: str) -> Callable[..., Any]:
    found = find(name, module, attribute, "model")
    if not callable(found):
        raise InputError(f"expected {name} to be a function or class that builds a network, got {type(found).__name__}")
    return (lambda: found) if isinstance(found, nn.Module) else found


@contextmanager
def downloading(name: str, url: str = "") -> Iterator[None]:
    """Context manager that turns a failed download into one line that says what to do."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum is a RuntimeError
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"cannot download the ImageNet weights of {name} ({line}): connect to the internet, or fetch "
            f"{url or 'the file'} on a machine that is, and give it with weights=FILE"
        ) from error


def _call(
    name: str, build: Callable[..., Any], options: dict[str, Any], refusals: tuple[type[Exception], ...] = ()
) -> Any:
    """Call a foreign factory; options that do not suit it are the caller's to mend, as are the `refusals` it raises."""
    try:
        return call(name, build, options)
    except InputError:
        raise
    except refusals as error:
        if isinstance(error, OSError):  # huggingface_hub's error for a failed download is a ValueError as well
            raise
        raise InputError(f"{name} does not take these options: {error}") from error


def _classifier(name: str, net: nn.Module, known: dict[str, Any], options: dict[str, Any], **fields: Any) -> Classifier:
    shape = known["input_shape"] and tuple(map(plain, known["input_shape"]))
    statistics = {key: _statistic(known[key]) for key in ("mean", "std")}
    fields = {"source": RANDOM, "licence": "BSD-3-Clause", **fields}
    card = Card(
        name=name,
        input_shape=shape,
        num_classes=known["num_classes"],
        parameters=parameters(net),
        options={**options, **statistics, **({"input_shape": shape} if shape else {})},
        **fields,
    )
    return Classifier(net, **statistics, card=card)


def _statistic(value: Any) -> Any:
    """A mean or a deviation as the card's JSON takes it; `Normalize` refuses what is none."""
    numbers = numbers_in(value)
    return value if numbers is None else numbers if isinstance(value, Iterable) else numbers[0]


def torchvision_weights(entry: str) -> Any:
    """Return the published weights of a torchvision network: a member of its weights enum."""
    from torchvision.models import get_model_weights

    return get_model_weights(entry).DEFAULT


def metadata(weights: Any) -> dict[str, Any]:
    """Return mean, std, input_shape and num_classes from torchvision's weights."""
    transforms = weights.transforms()
    size = int(transforms.crop_size[0])
    return {
        "mean": tuple(transforms.mean),
        "std": tuple(transforms.std),
        "input_shape": (3, size, size),
        "num_classes": len(weights.meta["categories"]),
    }


def imagenet_card(weights: Any) -> dict[str, Any]:
    """Return the fields of a card that torchvision's weights state."""
    return {
        "source": f"torchvision {weights}",
        "licence": "BSD-3-Clause (torchvision); ImageNet's terms",
        "data": "imagenet",
        "trained_on": "imagenet:train",
        "recipe": str(weights.meta.get("recipe", "")) or None,
    }
