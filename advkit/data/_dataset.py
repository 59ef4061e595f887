"""The base class of data sets: images in [0, 1] with labels, read by number, slice or index tensor."""

import copy
import operator
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from advkit.core.devices import find_device
from advkit.core.door import check_count
from advkit.core.errors import InputError, unknown
from advkit.core.option_numbers import shown
from advkit.core.registry import Registry

DATASETS: Registry["Dataset"] = Registry("data set", "advkit.data", example="mnist5k(pad=0)")

Index = int | slice | Sequence[int] | np.ndarray[Any, Any] | Tensor


class Dataset(torch_data.Dataset[tuple[Tensor, Tensor]]):
    """Images and labels in a fixed order; also a map-style data set for a torch DataLoader.

    `data[3]` is one image (C, H, W) and its label (); `data[:100]`, `data[[1, 5]]` and `data[tensor]` (numbers, or a
    boolean mask of all rows) are batches: x (N, C, H, W) float32 in [0, 1], y (N,) int64. An array is as good as a
    tensor. A number out of range raises IndexError, and what is no index InputError.

    Attributes:
        name: the name given to `load_data`.
        split: "train", "test" or whatever splits the set has.
        classes: a name for each label 0 .. K - 1.
        labels: (N,) int64; known without reading an image.
        input_shape: (C, H, W) of every image.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    labels: Tensor
    input_shape: tuple[int, int, int]
    _again: Callable[[str], "Dataset"] | None = None  # what `load_data` was asked for, with another split

    def sibling(self, split: str) -> "Dataset":
        """Load another split of the same set, from the same folder and with the same options.

        Args:
            split: name of the other split.

        Raises:
            InputError: there is no such split, or this set was not made by `load_data`.
        """
        if self._again is None:
            raise InputError(f"expected a data set that load_data made, got {self!r}: give its {split} split too")
        return self._again(split)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Index) -> tuple[Tensor, Tensor]:
        if isinstance(index, slice):
            return self._batch(torch.arange(len(self), device="cpu")[_forward(index, len(self))])
        if isinstance(index, Sequence) or getattr(index, "ndim", None):
            return self._batch(self._rows(_numbers(index)))
        try:
            number = operator.index(index)
        except TypeError as error:
            raise _no_index(index) from error
        if not -len(self) <= number < len(self):
            raise self._outside(number)
        x, y = self._batch(torch.tensor([number % len(self)], device="cpu"))
        return x[0], y[0]

    def _rows(self, index: Tensor) -> Tensor:
        """Row numbers in 0 .. len - 1 of an index tensor, a boolean mask included."""
        if index.dtype == torch.bool:
            if index.shape != self.labels.shape:
                raise IndexError(f"expected a mask of {len(self)} rows, got {tuple(index.shape)}")
            return index.nonzero()[:, 0]
        if not index.numel():
            return torch.empty(0, dtype=torch.int64, device="cpu")
        if index.is_floating_point() or index.ndim != 1:
            raise IndexError(f"expected row numbers (N,), got {index.dtype} {tuple(index.shape)}")
        outside = index[(index < -len(self)) | (index >= len(self))]
        if outside.numel():
            raise self._outside(int(outside[0]))
        return torch.where(index < 0, index + len(self), index).long()

    def _outside(self, number: int) -> IndexError:
        return IndexError(f"{self.name} {self.split} has {len(self)} images, no number {shown(number)}")

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._images(rows), self.labels[rows]

    @abstractmethod
    def _images(self, rows: Tensor) -> Tensor:
        """The images of these rows, (N, C, H, W) float32 in [0, 1]; `rows` (N,) are valid numbers."""

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return all images and labels at once; for a set on the disk this reads everything."""
        return self[:]

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the whole set in order, `batch_size` images at a time; the last batch may be smaller.

        Args:
            batch_size: number of images in a batch.
        """
        batch_size = check_count("batch_size", batch_size)
        return (self[start : start + batch_size] for start in range(0, len(self), batch_size))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.input_shape))
        return f"<{self.name} {self.split}: {len(self)} images {shape}, {len(self.classes)} classes>"


class MemoryDataset(Dataset):
    """A data set held in memory.

    Args:
        name, split, classes: the attributes of the data set, see `Dataset`.
        images: (N, C, H, W) uint8 (0 .. 255, turned into [0, 1] when read) or float in [0, 1].
        labels: (N,) integers in 0 .. K - 1.

    Attributes:
        stored: the images as they were given.

    Raises:
        InputError: shapes, types or ranges that do not fit.
    """

    def __init__(self, name: str, split: str, classes: Sequence[str], images: Tensor, labels: Tensor) -> None:
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            shapes = f"{tuple(images.shape)} and {tuple(labels.shape)}"
            raise InputError(f"expected images (N, C, H, W) and labels (N,) of {name}, got {shapes}")
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
            found = f"{int(labels.min())} .. {int(labels.max())}"
            raise InputError(
                f"expected labels in 0 .. {len(classes) - 1}, one for each class name, got {found} in {name}"
            )
        fault = _fault(images)
        if fault:
            raise InputError(f"expected images of {name} as uint8 or as floats in [0, 1], got {fault}")
        self.name, self.split, self.classes = name, split, tuple(classes)
        self.stored, self.labels = images, labels.long()
        channels, height, width = images.shape[1:]
        self.input_shape = (channels, height, width)

    def to(self, device: torch.device | str) -> "MemoryDataset":
        """Return the same set with images, labels and thus batches on a device.

        Args:
            device: the device, such as "cuda:1"; "auto" is a GPU if torch sees one, else the CPU.

        Raises:
            InputError: there is no such device.
        """
        place = find_device(device)
        moved = copy.copy(self)
        moved.stored, moved.labels = self.stored.to(place), self.labels.to(place)
        return moved

    def _images(self, rows: Tensor) -> Tensor:
        images = self.stored[rows]
        return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def _no_index(index: Any) -> InputError:
    return InputError(
        f"expected the number of an image, a slice, a list of numbers or a mask as the index, got {shown(index)}"
    )


def _numbers(index: Any) -> Tensor:
    """A list, array or tensor of numbers or of truths as a tensor on the CPU."""
    try:
        found = None if isinstance(index, str | bytes) else torch.as_tensor(index, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:  # a NotImplementedError of torch is a RuntimeError
        raise _no_index(index) from error
    if found is None or found.layout is not torch.strided or found.is_complex():
        raise _no_index(index)
    return found


def _forward(index: slice, length: int) -> slice:
    """The slice with plain numbers; torch has no negative steps, and here they say so."""
    try:
        start, stop, step = index.indices(length)
    except (TypeError, ValueError) as error:  # a step of 0
        raise _no_index(index) from error
    if step < 0:
        raise IndexError("expected a slice with a positive step; give the numbers as a list instead")
    return slice(start, stop, step)


def check_split(name: str, split: str, splits: Sequence[str] = ("train", "test")) -> None:
    """Raise InputError unless the data set `name` has this split."""
    if split not in splits:
        raise unknown(f"split of {name}", split, splits)


def _fault(images: Tensor) -> str:
    """What is wrong with images, and what to do; empty if they are bytes or in [0, 1]."""
    if images.dtype == torch.uint8 or not images.numel():
        return ""
    if not images.is_floating_point():
        return f"{images.dtype}"
    low, high = (float(value) for value in torch.aminmax(images))  # NaN where there is one
    if low != low:
        return "some that contain NaN"
    return "" if 0 <= low <= high <= 1 else f"values from {low:g} to {high:g}: bring them to [0, 1] first"
