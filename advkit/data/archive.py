"""An archive of arrays, as `np.savez` writes it: `load_data("FILE.npz")`."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from advkit.core.errors import InputError
from advkit.core.files import check_readable, refuse_bomb, user_path
from advkit.data._dataset import DATASETS, Dataset
from advkit.data._folders import Root
from advkit.data._pairs import images_of, in_memory, labels_of
from advkit.data.folder import in_order

PAIRS = (("x", "y"), ("images", "labels"), ("data", "labels"), ("data", "targets"), ("arr_0", "arr_1"))
"""Names under which archives keep images and labels, capital or not; those with the name of the split come first."""


@DATASETS.register("npz")
def npz(*, path: str | os.PathLike[str], split: str = "test", root: Root = None, download: bool = False) -> Dataset:
    """The arrays x and y in a file of NumPy.

    Args:
        path: path of FILE.npz with `x` (N, H, W), (N, C, H, W) or (N, H, W, C), uint8 or floats in [0, 1], and `y` (N,)
            integers. `X` and `y`, `images` and `labels`, `arr_0` and `arr_1` are understood too, and each with the
            split: `x_test` and `y_test`, `test_images` and `test_labels`.
        split: "test", or another split after which arrays are named, such as `x_train` or `train_images`.
        root, download: ignored; every data set takes them.

    Raises:
        InputError: there is no such file or no such arrays, or shapes, types or ranges do not fit.
    """
    file = user_path(path)
    with _archive(file) as archive:
        x_name, y_name = _pair_of_names(archive.files, split, file)
        x, y = archive[x_name], archive[y_name]
    return in_memory(str(path), split, images_of(x, file), labels_of(y, file))


def npz_splits(path: str | os.PathLike[str]) -> list[str]:
    """Return the splits whose arrays a file of NumPy holds; ["test"] if it holds none of any.

    Raises:
        InputError: the file cannot be read.
    """
    with _archive(user_path(path)) as archive:
        return _splits_of(archive.files) or ["test"]


@contextmanager
def _archive(file: Path) -> Iterator[Any]:
    """The open file of NumPy; inside, all that a broken one raises is one line."""
    check_readable(file)
    refuse_bomb(file)
    if file.is_file() and not zipfile.is_zipfile(file):
        with file.open("rb") as content:
            cut = content.read(2) == b"PK"
        other = f"it is no archive, as np.savez({file.name!r}, x=x, y=y) writes"
        fault = "its end is missing; copy or write it again" if cut else other
        raise InputError(f"cannot read {file} as arrays x and y: {fault}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            yield archive
    except InputError:
        raise
    except Exception as error:  # a broken archive raises nearly anything
        advice = "; save numbers, such as y.astype(int)" if "Object arrays" in str(error) else ""
        raise InputError(f"cannot read {file} as arrays x and y: {' '.join(str(error).split())}{advice}") from error


def _pair_of_names(names: Sequence[str], split: str, file: Path) -> tuple[str, str]:
    """The names of the split's images and labels, as the archive writes them."""
    written = {name.lower(): name for name in names}
    for x, y in _pairs(split.lower()):
        if x in written and y in written:
            return written[x], written[y]
    or_plain = ", or x and y," if split == "test" else ""
    there = _splits_of(names)
    advice = f"; its splits are {', '.join(there)}" if there else ""
    raise InputError(
        f"expected arrays x_{split} and y_{split}{or_plain} in {file} for the split {split!r}, "
        f"got {', '.join(names) or 'none'}{advice}"
    )


def _pairs(split: str) -> list[tuple[str, str]]:
    """What images and labels of a split may be called, in lower case; the first that is there counts."""
    by_split = [pair for x, y in PAIRS for pair in ((f"{x}_{split}", f"{y}_{split}"), (f"{split}_{x}", f"{split}_{y}"))]
    return [*by_split, *(PAIRS if split == "test" else ())]


def _splits_of(names: Sequence[str]) -> list[str]:
    """The splits of which there are images and labels, those with a usual name first."""
    written = {name.lower() for name in names}
    affixes = [(name.removeprefix(f"{x}_"), name.removesuffix(f"_{x}")) for name in written for x, _ in PAIRS]
    parts = {"test", *chain.from_iterable(affixes)}
    return in_order({part for part in parts if any(x in written and y in written for x, y in _pairs(part))})
