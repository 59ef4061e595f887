"""Check that a network and data fit together (channels, size, classes) before anything runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from advkit.core.classify import classify
from advkit.core.errors import InputError, warn
from advkit.core.guard import Model, modules_of
from advkit.data import Dataset, has_names, imagenet_names, renumbered
from advkit.data._class_names import learned_digits, numbered_by

IMAGENET = 1000


def belonging(model: Model, data: Any, classes: str | Path | None = None) -> Any:
    """Return the data, with labels renumbered as the network's classes if the class names allow it.

    Args:
        model: the network, whose card is compared with the data.
        data: a data set of advkit; anything else is returned as it is.
        classes: a file with the names of the network's classes (see `advkit.data.read_names`). Without it the names of
            ImageNet's classes are tried on a network of 1,000 outputs.

    Raises:
        InputError: the network does not take the channels or the size, has fewer outputs than the data have classes, or
            names do not fit.

    Warns:
        AdvkitWarning: the data have fewer classes than the network, or names in the order of the alphabet where the
            network learned digits, and the names do not identify them.
    """
    card = getattr(model, "card", None)
    if not isinstance(data, Dataset):
        if classes is not None:
            raise InputError("expected a data set by name for the classes of a file, such as folder:PATH")
        return data
    outputs, name = getattr(card, "num_classes", None), getattr(card, "name", "the model")
    _check_channels(card, data)
    data = _numbered(data, outputs, classes)
    most = int(data.labels.max()) if len(data) else 0
    if outputs is not None and most >= outputs:
        raise InputError(
            f"{data.name} has labels up to {most}, {name} has {outputs} outputs (0 to {outputs - 1}): "
            "give data of the network's classes"
        )
    learned = getattr(card, "data", None)
    fewer = outputs is not None and len(data.classes) < outputs
    digits = classes is None and learned_digits(learned) and list(data.classes) == sorted(data.classes)
    if (fewer or digits) and has_names(data.classes):
        what = f"{outputs:,} outputs" if fewer else f"learned the digits of {learned}"
        warn(
            f"{data.name} has {len(data.classes)} classes and {name} has {what}: the labels count as "
            f"outputs 0 to {len(data.classes) - 1} ({data.classes[0]} is 0); --classes FILE says which they are"
        )
    expected = getattr(card, "input_shape", None)
    if expected is not None and tuple(expected) != tuple(data.input_shape):
        _try_size(model, data.input_shape)
    return data


def _try_size(model: Model, shape: Sequence[int]) -> None:
    """One black image of another size than the network's own: it answers, or says that it cannot."""
    weights = (p for part in modules_of(model) for p in part.parameters() if p.is_floating_point())
    classify(model, next(weights, torch.ones(0, device="cpu")).new_zeros(1, *shape))


def _numbered(data: Dataset, outputs: int | None, classes: str | Path | None) -> Dataset:
    if classes is not None:
        return numbered_by(data, classes, outputs)
    if outputs != IMAGENET or len(data.classes) == outputs or not has_names(data.classes):
        return data
    return renumbered(data, imagenet_names()) or data


def _check_channels(card: Any, data: Dataset) -> None:
    expected, seen = getattr(card, "input_shape", None), data.input_shape
    if expected is None:
        return
    if expected[0] != seen[0]:
        raise InputError(
            f"{card.name} takes images of {expected[0]} channels, {data.name} has {seen[0]}: "
            "give data or a network of the same channels"
        )
