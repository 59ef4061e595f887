"""The file formats in which MNIST, CIFAR and SVHN are published: idx, pickles of arrays, and MATLAB's matrices."""

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

BYTES = 8
"""The idx format's number for entries of one unsigned byte; the MNIST family has no others."""


def read_idx(path: Path) -> Tensor:
    """Return the bytes of an idx file, as uint8 in the shape that its header gives.

    The header is two zeros, the type of the entries, the number of dimensions, and each size in four bytes, big-endian.

    Args:
        path: the unpacked file.

    Raises:
        ValueError: it is no idx file of bytes, or is longer or shorter than its header says.
    """
    content = bytearray(path.read_bytes())
    dimensions = content[3] if len(content) > 3 else 0
    begin = 4 + 4 * dimensions
    if content[:3] != bytes([0, 0, BYTES]) or not 1 <= dimensions <= 3 or len(content) < begin:
        raise ValueError(f"expected an idx file of bytes, got one that begins with {content[:4].hex() or 'nothing'}")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, begin, 4)]
    expected = int(np.prod(shape, dtype=object))
    if len(content) - begin != expected:
        raise ValueError(f"expected {expected} bytes for {tuple(shape)}, got {len(content) - begin}")
    if not expected:
        return torch.empty(shape, dtype=torch.uint8, device="cpu")
    return torch.frombuffer(content, dtype=torch.uint8, offset=begin).reshape(shape)


def read_cifar(paths: Iterable[Path]) -> tuple[Tensor, Tensor]:
    """Return images (N, 3, 32, 32) uint8 and labels (N,) of CIFAR's pickles, one after the other.

    Args:
        paths: pickles; the caller has verified them, for reading a pickle can run code.
    """
    parts = [_unpickled(path) for path in paths]
    images = np.vstack([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
    labels = [label for part in parts for label in part["labels" if "labels" in part else "fine_labels"]]
    return torch.from_numpy(images), torch.tensor(labels, device="cpu")


def read_cifar_names(path: Path, key: str) -> tuple[str, ...]:
    """Return the names of CIFAR's classes, in the order of their numbers.

    Args:
        path: the pickle of the names; the caller has verified it.
        key: entry of the pickle that holds them.
    """
    return tuple(_unpickled(path)[key])


def _unpickled(path: Path) -> dict[str, Any]:
    """A pickle that Python 2 wrote."""
    with path.open("rb") as file:
        content: dict[str, Any] = pickle.load(file, encoding="latin1")
    return content


def read_svhn(path: Path) -> tuple[Tensor, Tensor]:
    """Return images (N, 3, 32, 32) uint8 and labels (N,) of a file of SVHN, whose label 10 means the digit 0.

    Args:
        path: the MATLAB file.

    Raises:
        ModuleNotFoundError: scipy, which reads the format, is not installed.
    """
    from scipy.io import loadmat

    matrices = loadmat(path)
    images = np.ascontiguousarray(matrices["X"].transpose(3, 2, 0, 1))  # stored as (32, 32, 3, N)
    return torch.from_numpy(images), torch.from_numpy(matrices["y"].reshape(-1).astype(np.int64)) % 10
