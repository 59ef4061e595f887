"""Data sets and loaders that a caller has, read into memory."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from advkit.core.errors import InputError
from advkit.core.plain import kind
from advkit.data._any_data import as_data
from advkit.data._dataset import Dataset, MemoryDataset
from advkit.data._loading import load_data
from advkit.data._pairs import from_pair, is_pair, pair
from advkit.data._stream import batches

MOST = 4 << 30
"""Bytes of images that may be read into memory."""

TOGETHER = 64
"""Images in a batch of what gives single images; the first batch is read twice."""

ALL = 1 << 40
"""A number of images that never ends a reading: what has no end meets `MOST`."""


def as_dataset(data: Any, split: str) -> Dataset:
    """Make a data set of what a caller has.

    Args:
        data: a Dataset; a name or a path that `load_data` takes; a pair (x, y) of tensors, arrays or lists, or a
            dictionary of them. A data set of torch or torchvision, a DataLoader, and a list of items or batches are
            read into memory.
        split: split of the named set.

    Raises:
        InputError: anything else, or what `load_data` and `read_through` refuse.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | os.PathLike):
        return load_data(data, split=split)
    if isinstance(data, Mapping):
        data = pair(data)
    if is_pair(data):
        return from_pair(data, "the given pair", split)
    if isinstance(data, Tensor | np.ndarray) or not isinstance(data, Iterable | torch_data.Dataset | Sized):
        raise InputError(
            f"expected data as a Dataset, a name such as 'mnist5k', a pair (x, y) or a DataLoader, got {kind(data)}"
        )
    return read_through(kind(data), split, as_data(data, batch_size=TOGETHER, count=ALL))


def read_through(place: str, split: str, made: Any) -> MemoryDataset:
    """Read all that a loader or a data set gives into memory.

    Args:
        place: what the caller named, for the name of the data set and for messages.
        split: name of the split.
        made: a map-style or iterable data set of (image, label), a DataLoader, or items or batches one after the other.

    Raises:
        InputError: no images, images of several sizes or in another range, too many for memory; or the first images
            are others when they are read again, as behind random transforms.
    """
    sized = hasattr(made, "__getitem__") and isinstance(made, Sized)
    if not sized and not isinstance(made, torch_data.DataLoader | torch_data.IterableDataset):
        made = _kept(place, made)
    given = as_data(made, batch_size=TOGETHER, count=ALL)
    before = next(batches(given, batch_size=TOGETHER, count=ALL))
    images, labels, held = list[Tensor](), list[Tensor](), 0
    for x, y, _ in batches(given, batch_size=TOGETHER, count=ALL):
        if not images and not (torch.equal(x, before.x) and torch.equal(y, before.y)):
            raise _changing(place)
        held = _within(place, held, x)
        images.append(x)
        labels.append(y)
    try:
        whole = torch.cat(images), torch.cat(labels)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"expected images of one size from {place}: {str(error).splitlines()[0]}") from error
    data = from_pair(whole, place, split)
    names = getattr(made, "classes", None)  # of the data sets of torchvision
    if isinstance(names, list | tuple) and len(names) >= len(data.classes) and all(isinstance(n, str) for n in names):
        data.classes = tuple(names)
    return data


def _kept(place: str, made: Iterable[Any]) -> list[Any]:
    """What can be gone through once, or is no data set of torch, as a list.

    Raises:
        InputError: too many images for memory, or the first ones are others when they are read again.
    """
    items, held = list[Any](), 0
    for item in made:
        held = _within(place, held, pair(item)[0])
        items.append(item)
    again = None if isinstance(made, Iterator | Sequence) else next(iter(made), None)
    if items and again is not None and not all(map(torch.equal, pair(items[0]), pair(again))):
        raise _changing(place)
    return items


def _changing(place: str) -> InputError:
    return InputError(
        f"{place} gives other images each time it is read: leave out random transforms (augment= of a recipe "
        "draws them in training), and of a loader shuffle=True (or give the data set behind it)"
    )


def _within(place: str, held: int, x: Tensor) -> int:
    """The bytes held with these images."""
    held += x.numel() * x.element_size()
    if held > MOST:
        raise InputError(f"{place} gives more than {MOST >> 30} GB of images: give a data set that ends sooner")
    return held
