"""Parts of a data set: one half, or some classes. `mnist(half=1)`, `mnist(classes="3,7")`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.data._dataset import Dataset


class Selection(Dataset):
    """Some rows of a data set, in the same order, possibly with new labels.

    Args:
        data: the whole set.
        rows: (M,), numbers of the rows that are kept.
        numbers: labels that remain, in the order of their new labels; an empty sequence keeps labels and names.

    Attributes:
        files: the files of the images, if the whole set has files.
    """

    def __init__(self, data: Dataset, rows: Tensor, numbers: Sequence[int] = ()) -> None:
        self.data, self.rows = data, rows
        self.name, self.split, self.input_shape = data.name, data.split, data.input_shape
        self.classes = tuple(data.classes[number] for number in numbers) or data.classes
        old = data.labels[rows]
        new = old.clone()
        for label, number in enumerate(numbers):
            new[old == number] = label
        self.labels = new
        files = getattr(data, "files", None)
        if files is not None:
            self.files = [files[row] for row in rows.tolist()]

    def _images(self, rows: Tensor) -> Tensor:
        return self.data._images(self.rows[rows.to(self.rows.device)])


def selected(data: Dataset, *, half: Any = None, classes: Any = None) -> Dataset:
    """Select one half of a set, or some of its classes, or both.

    Args:
        data: the whole set.
        half: number of the half, 1 or 2. Half 1 has the first, third, ... image of each class, half 2 the others.
        classes: names or numbers of classes, as a sequence or as one text with commas ("3,7"). Their labels become
            0, 1, ... in the order in which they are given.

    Raises:
        InputError: there is no such half or class, or the part has no images.
    """
    if half is not None:
        if isinstance(half, bool) or half not in (1, 2):
            raise InputError(f"expected half=1 or half=2 of {data.name}, got {half!r}")
        data = Selection(data, (_ranks(data.labels) % 2 == half - 1).nonzero()[:, 0])
    if classes is not None:
        numbers = [_number(data, part) for part in _parts(classes)]
        if not numbers or len(set(numbers)) < len(numbers):
            raise InputError(f"expected different classes of {data.name}, such as classes='3,7', got {classes!r}")
        wanted = torch.tensor(numbers, device=data.labels.device)
        data = Selection(data, torch.isin(data.labels, wanted).nonzero()[:, 0], numbers)
    if not len(data):
        raise InputError(f"no image of {data.name} {data.split} is left: half={half}, classes={classes}")
    return data


def _ranks(labels: Tensor) -> Tensor:
    """(N,): number of images of the same class before each one."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    firsts = (counts.cumsum(0) - counts)[labels[order]]
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels), device=labels.device) - firsts
    return ranks


def _parts(classes: Any) -> list[str]:
    if isinstance(classes, str):
        return [part.strip() for part in classes.split(",")]
    return [str(part) for part in (classes if isinstance(classes, list | tuple) else [classes])]


def _number(data: Dataset, part: str) -> int:
    """The number of a class that is given by name or by number."""
    if part in data.classes:
        return data.classes.index(part)
    if part.isascii() and part.isdecimal() and int(part) < len(data.classes):
        return int(part)
    raise unknown(f"class of {data.name}", part, data.classes)
