"""Conversion of the accepted forms of data to one that can be read several times."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from advkit.core.advice import batch_advice
from advkit.core.errors import InputError
from advkit.data._loading import load_data
from advkit.data._pairs import dense, is_two_lists, pair
from advkit.data._stream import said_length


class Items(torch_data.Dataset[Any]):
    """A list of single images with their labels, as a data set."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def as_data(data: Any, *, batch_size: int, count: int | None) -> Any:
    """Convert the data to a form that `batches` reads.

    Args:
        data: a name or a path that `load_data` takes, a pair (x, y) of tensors, arrays or lists, a dictionary of them,
            a list of items or of batches, a data set with a length or without, or a DataLoader.
        batch_size: number of images in a batch, if the data are a stream of single images.
        count: number of images to use; None means all, and is refused for data without a length.

    Raises:
        InputError: the data are a generator, which can be read only once, or may never end; or a single image.
    """
    if isinstance(data, str | os.PathLike):
        return load_data(data)
    if isinstance(data, Mapping):
        return pair(data)
    if isinstance(data, Iterator) and not hasattr(data, "__getitem__"):
        raise InputError(f"a {type(data).__name__} can be read only once: give a list, a DataLoader, or a data set")
    if isinstance(data, torch_data.IterableDataset):
        data = torch_data.DataLoader(data, batch_size=batch_size)
    if isinstance(data, torch_data.DataLoader) and count is None and said_length(data) is None:
        raise InputError(
            "expected count=N for data that do not say how many images they have, since they may never end; "
            "a count beyond their end takes all of them"
        )
    if isinstance(data, tuple | list):
        if not data:
            raise InputError("expected at least one image, got empty data")
        return _listed(data)
    return data


def _check_batch(x: Tensor | np.ndarray, y: Any) -> None:
    """Raise InputError if one number is given in place of a label for each image."""
    if isinstance(y, Tensor | np.ndarray) and y.ndim:
        return
    if isinstance(y, int | np.integer | Tensor | np.ndarray):
        raise InputError(
            f"expected labels (N,), one an image, got one number for x of shape {tuple(x.shape)}"
            f"{batch_advice(dense(x), y)}"
        )


def _listed(data: tuple[Any, ...] | list[Any]) -> Any:
    """A pair of arrays or of lists, else batches put together, else a list of items."""
    if len(data) == 2 and isinstance(data[0], Tensor | np.ndarray):
        _check_batch(*data)
    if len(data) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in data):
        return tuple(map(dense, data))
    if is_two_lists(data):
        return pair(data)
    if not isinstance(data[0], tuple | list | Mapping):
        raise InputError(
            "expected data as a Dataset, a DataLoader or a pair of tensors or arrays (x, y), got "
            f"{type(data).__name__} of {', '.join(type(part).__name__ for part in data[:3])}"
        )
    pairs = [pair(item) for item in data]
    if not all(y.ndim for _, y in pairs):
        return Items(list(data))
    try:
        return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])
    except RuntimeError as error:
        raise InputError(f"expected batches of images of one size: {str(error).splitlines()[0]}") from error
