"""Robust networks by RobustBench's names: `robustbench:Carmon2019Unlabeled` (Croce et al. 2020, arXiv 2010.09670)."""

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advkit.core.errors import InputError, unknown
from advkit.core.words import harmless
from advkit.models._registry import seeded

SHAPES: dict[str, tuple[tuple[int, int, int], int]] = {
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "imagenet": ((3, 224, 224), 1000),
}
"""Data set -> the shape of an image and the number of classes."""

THREATS = ("Linf", "L2", "corruptions")


def published(entry: str, dataset: str = "cifar10", threat: str = "Linf") -> Any:
    """Return RobustBench's entry of a network: a dictionary whose "model" builds it.

    Raises:
        InputError: the package is missing, or it has no such data set, threat model or network.
    """
    for kind, value, known in (("data set", dataset, SHAPES), ("threat model", threat, THREATS)):
        if value not in known:
            raise unknown(f"{kind} of robustbench", str(value), known)
    try:
        listed = importlib.import_module("robustbench.model_zoo").model_dicts
    except ImportError as error:
        raise InputError(f"robustbench cannot be imported ({error}): pip install 'advkit[robustbench]'") from error
    by_value = {getattr(key, "value", key): found for key, found in listed.items()}
    threats = {getattr(key, "value", key): found for key, found in by_value[dataset].items()}
    if entry not in threats.get(threat, {}):
        raise unknown(f"network of robustbench for {dataset} and {threat}", entry, threats.get(threat, {}))
    return threats[threat][entry]


def architecture(entry: str, seed: int | None, options: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network without its weights, and the fields of its card; it takes images in [0, 1].

    Args:
        entry: name of the network in RobustBench.
        seed: seed of the random weights.
        options: options by name: `dataset` ("cifar10", "cifar100", "imagenet") and `threat` ("Linf", "L2",
            "corruptions").

    Raises:
        InputError: there is no such network or option.
    """
    extra = set(options) - {"dataset", "threat"}
    if extra:
        raise unknown(f"option of robustbench:{entry}", sorted(extra)[0], ("dataset", "threat"))
    found = published(entry, **options)
    if not callable(found.get("model")):
        raise InputError(f"robustbench:{entry} is several networks in one, which advkit does not build")
    shape, classes = SHAPES[options.get("dataset", "cifar10")]
    with _no_download(entry):
        net = seeded(found["model"], seed)
    return net, {"mean": 0.0, "std": 1.0, "input_shape": shape, "num_classes": classes}


@contextmanager
def _no_download(entry: str) -> Iterator[None]:
    """Some builders fetch weights of torchvision; within this only those in its cache are found."""

    def refuse(url: str, *_: Any, **__: Any) -> None:
        raise InputError(
            f"robustbench:{entry} takes its weights from {url} when it is built, and advkit downloads none: "
            "load them once with robustbench or torchvision"
        )

    own, torch.hub.download_url_to_file = torch.hub.download_url_to_file, refuse
    try:
        yield
    finally:
        torch.hub.download_url_to_file = own


def cached(entry: str, options: dict[str, Any]) -> Path:
    """Return the file that RobustBench's own loader downloads: `models/DATASET/THREAT/NAME.pt`.

    Raises:
        InputError: the file does not exist; the message says where to get it.
    """
    dataset, threat = options.get("dataset", "cifar10"), options.get("threat", "Linf")
    found = published(entry, dataset, threat)
    path: Path = Path("models") / dataset / threat / f"{entry}.pt"
    if path.is_file():
        return path
    place = found.get("gdrive_id")
    where = f" (https://drive.google.com/file/d/{place})" if isinstance(place, str) else ""
    raise InputError(
        f"no weights of robustbench:{entry} at {path}: advkit downloads none{where}; "
        "give the file with weights=FILE, or 'random'"
    )


def figures(entry: str, options: dict[str, Any]) -> dict[str, Any]:
    """Read figures for the card from `model_info/DATASET/THREAT/NAME.json` of RobustBench's repository.

    The package does not contain that file. It is read if the current folder contains `model_info`, as a clone does.

    Args:
        entry: name of the network in RobustBench.
        options: `dataset` and `threat`.

    Returns:
        The fields `paper`, `clean_error`, `attack_errors` and `data` of a card; empty without the file.

    Raises:
        InputError: the file is not one of RobustBench's.
    """
    dataset, threat = options.get("dataset", "cifar10"), options.get("threat", "Linf")
    path = Path("model_info") / dataset / threat / f"{entry}.json"
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text("utf-8"))
        paper = ", ".join(str(told[key]) for key in ("authors", "name", "venue"))
        clean, auto = (None if told.get(key) is None else _error(told[key]) for key in ("clean_acc", "autoattack_acc"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no model_info of RobustBench: {type(error).__name__} {error}") from error
    attacked = {} if auto is None else {f"autoattack(norm={threat.lower()}, eps={told.get('eps')})": auto}
    return {"paper": harmless(paper), "clean_error": clean, "attack_errors": attacked, "data": dataset}


def _error(accuracy: Any) -> float:
    """0.1031 of "89.69"."""
    error = round(1 - float(accuracy) / 100, 6)
    if not 0 <= error <= 1:
        raise ValueError(f"expected a percentage, got {accuracy!r}")
    return error
