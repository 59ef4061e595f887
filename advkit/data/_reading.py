"""Data sets and loaders that a caller has, read into memory."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.imported import staying
from advkit.data._dataset import MemoryDataset
from advkit.data._pairs import images_of, in_memory, labels_of, pair

MOST = 4 << 30
"""Bytes of images that may be read into memory."""

TWICE = 8
"""Items or batches that are read twice, to see whether they stay the same."""


def is_readable(made: Any) -> bool:
    """Whether `read_through` can go through it: a data set of (image, label), a loader, a list of items or batches."""
    return not isinstance(made, str) and (isinstance(made, Iterable) or _is_sized(made))


def read_through(place: str, split: str, made: Any) -> MemoryDataset:
    """Read all that a loader or a data set gives into memory.

    Args:
        place: what the caller named, for the name of the data set and for messages.
        split: name of the split.
        made: a map-style or iterable data set of (image, label), a DataLoader, or a list of items or of batches.

    Raises:
        InputError: no images, images of several sizes or in another range, too many for memory; or the same item is
            another one when it is read again, as behind random transforms.
    """
    before = [] if isinstance(made, Iterator) else [pair(item) for item in islice(_items(place, made), TWICE)]
    images, labels, held = list[Tensor](), list[Tensor](), 0
    for number, item in enumerate(_items(place, made)):
        x, y = pair(item)
        if number < len(before) and not _same(before[number], (x, y)):
            raise InputError(
                f"{place} gives other images each time it is read: leave out random transforms (augment= of a recipe "
                "draws them in training), and of a loader shuffle=True (or give the data set behind it)"
            )
        x, y = (x[None], y.reshape(1)) if x.ndim == 3 and y.numel() == 1 else (x, y)
        images.append(x)
        labels.append(y)
        held += x.numel() * x.element_size()
        if held > MOST:
            raise InputError(f"{place} gives more than {MOST >> 30} GB of images: give a data set that ends sooner")
    if not images:
        raise InputError(f"expected at least one image from {place}, got none")
    try:
        x, y = torch.cat(images), torch.cat(labels)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"expected images of one size from {place}: {str(error).splitlines()[0]}") from error
    data = in_memory(place, split, images_of(x.numpy(), place), labels_of(y.numpy(), place))
    names = getattr(made, "classes", None)  # of the data sets of torchvision
    if isinstance(names, list | tuple) and len(names) >= len(data.classes) and all(isinstance(n, str) for n in names):
        data.classes = tuple(names)
    return data


def _is_sized(made: Any) -> bool:
    return hasattr(made, "__getitem__") and hasattr(made, "__len__")


def _items(place: str, made: Any) -> Iterator[Any]:
    """What a data set or a loader of the caller's gives, one after the other."""
    with staying(place):
        yield from (made[i] for i in range(len(made))) if _is_sized(made) else made


def _same(before: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, now, strict=True))
