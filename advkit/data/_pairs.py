"""Images and labels as callers hold them: arrays, lists, items and batches of loaders."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advkit.core.advice import rows_advice
from advkit.core.door import check_dense
from advkit.core.errors import InputError
from advkit.data._dataset import MemoryDataset

MOST_CHANNELS = 4
"""Channels that the last axis of images may be taken for, where the second axis has more."""


def is_pair(data: Any) -> bool:
    """Whether these are two arrays or tensors, or lists in their place."""
    arrays = isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(part, "shape") for part in data)
    return arrays or is_two_lists(data)


def from_pair(data: Sequence[Any], name: str, split: str) -> MemoryDataset:
    """The data set of a pair (x, y) of tensors, arrays or lists.

    Raises:
        InputError: shapes, types or ranges that do not fit.
    """
    data = pair(data) if is_two_lists(data) else data
    x, y = (dense(part if isinstance(part, Tensor) else np.asarray(part)).detach().cpu().numpy() for part in data)
    return in_memory(name, split, images_of(x, name), labels_of(y, name))


IMAGE_KEYS = ("image", "images", "x", "img", "pixel_values", "input", "inputs", "data", "jpg", "png", "jpeg")
LABEL_KEYS = ("label", "labels", "y", "target", "targets", "class", "cls")


def pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Return images and labels of a batch or an item, which is a pair, a longer tuple that begins with both, or a dict.

    Raises:
        InputError: the item is none of these, or a label is no integer.
    """
    found: Sequence[Any] = batch if isinstance(batch, tuple | list) else ()
    if isinstance(batch, Mapping):
        keys = [next((key for key in names if key in batch), None) for names in (IMAGE_KEYS, LABEL_KEYS)]
        if None in keys:
            raise InputError(
                "expected 'image' and 'label' (or 'x' and 'y') among the keys of a batch, "
                f"got {', '.join(map(str, batch)) or 'none'}{_of_splits(batch)}"
            )
        found = [batch[key] for key in keys]
    if len(found) >= 2 and _is_row(found[0], found[1]):
        found = [_stacked(found[0]), found[1]]
    elif is_two_lists(found) and isinstance(found[0], tuple | list):
        found = [_filled(found[0]), found[1]]
    if len(found) < 2 or not isinstance(found[0], Tensor | np.ndarray):
        names = [type(part).__name__ for part in found[:3]] + ["..."] * (len(found) > 3)
        parts = f" of {', '.join(names)}" if found else ""
        advice = (
            "; torchvision's ToTensor() makes tensors of pictures" if hasattr(next(iter(found), 0), "getbands") else ""
        )
        raise InputError(f"expected (images, labels) as two tensors, got {type(batch).__name__}{parts}{advice}")
    return dense(found[0]), label(found[1])


def _of_splits(batch: Mapping[Any, Any]) -> str:
    """Say what to do with a mapping of whole data sets, such as the splits of one; empty for other mappings."""
    sets = [key for key, value in batch.items() if callable(getattr(value, "__getitem__", None))]
    plain = [key for key, value in batch.items() if isinstance(value, Tensor | np.ndarray | Sequence)]
    if not sets or plain or len(sets) < len(batch):
        return ""
    return f"; give one of these data sets, such as data[{sets[-1]!r}]"


def _is_row(images: Any, labels: Any) -> bool:
    """Whether these are a list of single images (C, H, W) and as many labels, as a `collate_fn` may leave them."""
    if not isinstance(images, tuple | list) or not images:
        return False
    single = all(isinstance(image, Tensor | np.ndarray) and image.ndim == 3 for image in images)
    return single and hasattr(labels, "__len__") and len(labels) == len(images)


def is_two_lists(data: Any) -> bool:
    """Whether these are a pair whose labels are a plain list of numbers, and no list of two items or batches."""
    if not isinstance(data, tuple | list) or len(data) != 2 or not isinstance(data[1], tuple | list) or not data[1]:
        return False
    if not all(isinstance(one, int | float | np.number | str) or _is_number(one) for one in data[1]):
        return False
    if isinstance(data[0], Tensor | np.ndarray) or _is_row(*data):
        return True
    first = data[0]
    while isinstance(first, tuple | list) and first:
        first = first[0]
    return isinstance(first, int | float | np.number)


def _is_number(value: Any) -> bool:
    """Whether it is a tensor of one number without an axis, as a list of a tensor's rows holds them."""
    return isinstance(value, Tensor) and not value.ndim


def _filled(images: Sequence[Any]) -> Tensor:
    """The tensor of nested lists of numbers."""
    try:
        return torch.tensor(images, device="cpu")
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise InputError(f"expected images of one size, as lists of numbers: {str(error).splitlines()[0]}") from error


def _stacked(images: Sequence[Any]) -> Tensor:
    try:
        return torch.stack([dense(image) for image in images])
    except (RuntimeError, TypeError) as error:
        raise InputError(f"expected images of one size in a batch: {str(error).splitlines()[0]}") from error


def dense(value: Tensor | np.ndarray) -> Tensor:
    """The tensor of an array, whatever its byte order, strides and permissions; a tensor itself.

    Raises:
        InputError: the array holds objects or texts, or the tensor does not hold all its values.
    """
    if isinstance(value, Tensor):
        check_dense(value)
        return value
    if value.dtype.kind not in "biufc":
        advice = _advice(value) if value.ndim == 1 else ""
        if value.dtype.kind == "O":
            advice = "; y.astype(int) makes numbers of labels, np.stack(x) one array of arrays of one shape"
        raise InputError(f"expected an array of numbers, got one of {value.dtype}{advice}")
    known = np.float64 if value.dtype == np.longdouble else value.dtype.newbyteorder("=")
    plain = np.ascontiguousarray(value, dtype=known).reshape(value.shape)  # which makes a row of a single number
    return torch.from_numpy(plain if plain.flags.writeable else plain.copy())


def label(value: Any) -> Tensor:
    """Convert labels to a tensor; labels that are no tensor must be integers, not bools, fractions or texts.

    Raises:
        InputError: the labels are something else.
    """
    if isinstance(value, Tensor):
        return dense(value)
    if isinstance(value, tuple | list) and value:
        rows = [label(one) for one in value]
        if all(row.ndim == 0 for row in rows):
            return torch.stack(rows)
    if isinstance(value, np.ndarray) and value.ndim:
        if value.dtype.kind not in "iu":
            raise InputError(f"expected labels as integers, got an array of {value.dtype}{_advice(value)}")
        return dense(value)
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole and not (isinstance(value, np.ndarray) and value.dtype.kind in "iu"):
        raise InputError(f"expected labels as integers, got {value!r}{_advice(np.array([value]))}")
    return dense(value) if isinstance(value, np.ndarray) else torch.as_tensor(value)


def images_of(x: Any, source: object) -> Tensor:
    """(N, C, H, W) of an array with or without channels, which may be the last axis."""
    if x.dtype.kind not in "uf" or (x.dtype.kind == "u" and x.dtype != np.uint8):
        raise InputError(f"expected images in {source} as uint8 or as floats in [0, 1], got {x.dtype}")
    if x.shape[:1] == (0,):
        raise InputError(f"expected images in {source}, got none: {x.shape}")
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or 0 in x.shape:
        advice = "; rows of pixels become images by x.reshape(-1, C, H, W)" if x.ndim == 2 else ""
        raise InputError(f"expected images (N, C, H, W) in {source}, got {x.shape}{advice}")
    if x.shape[-1] <= MOST_CHANNELS < x.shape[1]:
        x = x.transpose(0, 3, 1, 2)
    return dense(x)


def labels_of(y: Any, source: object) -> Tensor:
    """(N,) int64 of an array of integers."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise InputError(f"expected labels (N,) as integers in {source}, got {y.dtype} {y.shape}{_advice(y)}")
    if y.size and y.max() > np.iinfo(np.int64).max:
        raise InputError(f"expected class numbers up to 1000000 in {source}, got {y.max()}")
    return torch.from_numpy(y.astype(np.int64))


def _advice(y: np.ndarray) -> str:
    """What makes labels of such numbers or texts; empty where nothing is known."""
    if y.dtype.kind == "U":
        if all(one.isdecimal() for one in y.flat):
            return "; use y.astype(int), or int(y) of a single text, if they are class numbers"
        return "; np.unique(y, return_inverse=True)[1] numbers names in the order of the alphabet"
    if y.dtype.kind not in "biuf":
        return ""
    if not y.ndim:
        return "; a single image needs the axis of the batch, and so does its class: x[None], torch.tensor([y])"
    if y.ndim == 1:
        whole = y.dtype.kind != "f" or bool((y == np.floor(y)).all())
        numbers = "; use y.astype(int), or int(y) of a single number, if they are class numbers"
        return numbers if whole else "; numbers with a fraction are no classes"
    return rows_advice(dense(y))


def in_memory(name: str, split: str, images: Tensor, labels: Tensor) -> MemoryDataset:
    """Make a data set from tensors; its classes have numbers and no names."""
    most = int(labels.max()) if labels.numel() else 0
    if most > 1_000_000:
        raise InputError(f"expected class numbers up to 1000000 in {name}, got {most}")
    return MemoryDataset(name, split, [str(number) for number in range(most + 1)], images, labels)
