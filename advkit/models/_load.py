"""Trained networks: `load_model` finds the weights, states their source, and downloads only on request."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from advkit.core.devices import find_device
from advkit.core.errors import InputError, check_given, unknown
from advkit.core.files import user_path
from advkit.core.registry import parse_spec
from advkit.models._card import SHIPPED, Card
from advkit.models._checkpoint import WEIGHTS_FILE, fill, fill_from, read_card, read_weights, refuse_code, restore
from advkit.models._classifier import Classifier
from advkit.models._create import create_model
from advkit.models._hub_load import load_hub
from advkit.models._reference import (
    check_reference,
    create_reference,
    downloading,
    imagenet_card,
    is_reference,
    metadata,
    runs_code,
    split_reference,
    torchvision_weights,
)
from advkit.models._registry import MODELS
from advkit.models._robustbench import cached, figures

WEIGHTS = Path(__file__).parent / "weights"
_DEFAULT_DATA = "mnist5k"
_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_IN_TORCHVISION = ("vgg11", "vgg13", "vgg16", "vgg19")  # ours and torchvision's are the same network


def load_model(
    name: str,
    *,
    data: str | None = None,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    **options: Any,
) -> Classifier:
    """Load a trained classifier, in eval mode, with its card.

    Args:
        name: a registered name or spec ("vgg16"), a reference ("torchvision:resnet50", "timm:NAME", "robustbench:NAME",
            "onnx:FILE", "hf:ORG/NAME", "package.module:factory"; the last imports and runs that code), or a weights
            file that carries a card.
        data: data set that the shipped checkpoint was trained on; default: "mnist5k".
        weights: a file, or the folder of a run of `advkit train`; "imagenet" (torchvision's, downloaded unless cached);
            "hub" (those of hf:ORG/NAME, downloaded unless cached);
            "random" (untrained); a defence whose checkpoint ships, such as "pgd" (see `robust`).
            Default: the plain checkpoint that ships with the package.
        device: device such as "cpu", "cuda" or "cuda:1"; "auto" takes a GPU if there is one, CUDA's or Apple's "mps".
        **options: options of `create_model`; those of a checkpoint with a card need not be given.

    Raises:
        InputError: the name, an option or the device is unknown, the weights are missing or do not fit, or a download
            failed.
    """
    check_given("name", name, (str, os.PathLike), "text such as 'lenet5', or the path of a weights file")
    check_given("data", data, (str, type(None)), "the name of a data set such as 'mnist5k'")
    place = find_device(device)
    if not is_reference(name) and re.search(r"\.onnx(\(.*\))?$", name, re.IGNORECASE):
        raise InputError(f"an ONNX file is a model by its reference: write onnx:{name}, got {name}")
    if _is_file(name):
        if weights is not None:
            raise InputError(
                f"the model is the weights file {name}, and weights={str(weights)!r} came too: give a name, or one file"
            )
        name, weights = _named(name), name
    if is_reference(name):
        name, given = split_reference(name)
        options = {**given, **options}
    else:
        spec = parse_spec(name)
        name, options = spec.name, {**spec.options, **options}
        MODELS.check_options(name, MODELS.factory(name), options)
    return _load(name, data, weights, options).eval().to(place)


def _load(name: str, data: str | None, weights: str | Path | None, options: dict[str, Any]) -> Classifier:
    if name.startswith("onnx:"):
        return create_reference(name, options, pretrained=weights is not None)
    if weights == "random":
        return create_model(name, **{"seed": 0, **options})
    if name.startswith("hf:") and weights != "imagenet":
        return load_hub(name, weights, options)
    if weights == "imagenet":
        return create_reference(name, options, pretrained=True) if is_reference(name) else _imagenet(name, options)
    if isinstance(weights, str) and weights in robust(name):
        return _robust(name, weights, options)
    if weights is not None:
        if str(weights).lower().endswith(".onnx"):
            raise InputError(
                f"an ONNX file is a whole network, not weights of {name}: give it as the model, --model onnx:{weights} "
                f"or load_model('onnx:{weights}'), and leave weights out"
            )
        _check_word(name, weights)
        return _from_file(name, weights, options)
    if not is_reference(name):
        return _shipped(name, data or _DEFAULT_DATA, options)
    if name.startswith("robustbench:"):
        entry = name.partition(":")[2]
        classifier = _from_file(name, cached(entry, options), options)
        classifier.card = replace(classifier.card, **figures(entry, options))
        return classifier
    if not runs_code(name):
        check_reference(name)
        raise InputError(
            f"{name} needs weights: give 'imagenet' (downloads them), a weights file, or 'random' (untrained)"
        )
    return create_reference(name, options)


def _check_word(name: str, weights: str | Path) -> None:
    """Raise InputError for a word that is neither a path nor one of those that stand for weights."""
    path = user_path(weights)
    if isinstance(weights, str) and path.name == weights and not path.suffix and not path.exists():
        raise unknown(
            "weights", weights, {*robust(name), "imagenet", "random"}, "(no weights file or run is called so)"
        )


def _shipped(name: str, data: str, options: dict[str, Any]) -> Classifier:
    path = WEIGHTS / f"{name}-{data}.safetensors"
    if not path.is_file():
        found = ", ".join(shipped(name)) or "none"
        raise InputError(
            f"no weights of {name} for {data!r} ship with advkit (data sets with weights: {found}): train them with "
            f"`advkit train --model {name} --data {data}`, give a weights file, or 'random' for an untrained network"
        )
    classifier = _from_file(name, path, options)
    classifier.card = replace(classifier.card, source=SHIPPED)
    return classifier


def shipped(name: str) -> dict[str, Card]:
    """Return data set -> card for the checkpoints of a network that ship with the package.

    Args:
        name: registered name of a network.
    """
    paths = _checkpoints(WEIGHTS, name)
    cards = {path.stem.removeprefix(f"{name}-"): read_card(path) for path in paths}
    return {data: replace(card, source=SHIPPED) for data, card in cards.items() if card is not None}


def robust(name: str) -> dict[str, Card]:
    """Return value of `weights` -> card for the shipped checkpoints of a network that were trained with a defence.

    Args:
        name: registered name of a network, such as "lenet5"; another name has none.

    Returns:
        Cards by the word that `load_model(name, weights=...)` takes, such as "pgd"; empty if none ships.
    """
    paths = _checkpoints(WEIGHTS / "robust", name)
    cards = {path.stem.rpartition("-")[2]: read_card(path) for path in paths}
    return {defense: replace(card, source=SHIPPED) for defense, card in cards.items() if card is not None}


def _checkpoints(folder: Path, name: str) -> list[Path]:
    """The files of a network, whose name may hold anything."""
    return sorted(path for path in folder.glob("*.safetensors") if path.name.startswith(f"{name}-"))


def _robust(name: str, defense: str, options: dict[str, Any]) -> Classifier:
    (path,) = (WEIGHTS / "robust").glob(f"{name}-*-{defense}.safetensors")
    classifier = _from_file(name, path, options)
    classifier.card = replace(classifier.card, source=SHIPPED)
    return classifier


def _from_file(name: str, path: str | Path, options: dict[str, Any]) -> Classifier:
    found, card = read_weights(path)
    if card is None:
        classifier = create_model(name, **{"seed": 0, **options})
        note = f"; built {classifier.card.describe()}: give the options it was trained with"
        said = fill_from(classifier.net, found, path, note=note)
        source = f"{path} ({said})" if said else str(path)
        classifier.card = replace(classifier.card, seed=None, source=source, licence="unknown")
        return classifier
    if card.name != name:
        raise InputError(
            f"{path} holds weights of {card.name!r}, expected {name!r}: give the model {card.name!r}, or another file"
        )
    return restore(found, card, path, options)


def _imagenet(name: str, options: dict[str, Any]) -> Classifier:
    if name not in _IN_TORCHVISION:
        other = (
            f"; torchvision's own network of that name is 'torchvision:{name}'"
            if name in ("alexnet", "googlenet")
            else ""
        )
        raise InputError(
            f"'imagenet' weights exist for {', '.join(_IN_TORCHVISION)}, torchvision:NAME and timm:NAME, "
            f"not for {name}{other}"
        )
    published = torchvision_weights(name)
    classifier = create_model(name, **{**metadata(published), "seed": 0, **options})
    with downloading(name, published.url):
        state = published.get_state_dict(progress=True, check_hash=True)
    fill(classifier.net, state, f"torchvision {published}")
    classifier.card = replace(classifier.card, seed=None, **imagenet_card(published))
    return classifier


def _is_file(name: str) -> bool:
    if name.startswith("hf:"):
        return False
    path = user_path(name)
    if path.is_dir():
        return (path / WEIGHTS_FILE).is_file()
    return path.suffix in _FILES or (path.is_file() and not is_reference(name) and name not in MODELS.names())


def _named(path: str) -> str:
    """The name on the card of a weights file."""
    _, card = read_weights(path)
    if card is None:
        raise InputError(f"{path} says not which network it belongs to: give the model's name, and the file as weights")
    refuse_code(card, path)
    return card.name
