"""`mnist5k`: 5,000 digits of MNIST's training set (LeCun, Bottou, Bengio, Haffner 1998) that ship with the package.

They have a fixed split of 4,000/1,000, 400 and 100 a class, by a rule that needs no random number generator.
Within a class the digits are ranked by the SHA-256 of their pixels, and the first 100 are the test digits. Every block
of ten of either split holds each class once, so the first 10 n digits are stratified too.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.data._dataset import DATASETS, MemoryDataset, check_split

Bytes = npt.NDArray[np.uint8]

DIGITS = tuple("0123456789")
TEST_PER_CLASS = 100
FILE = Path(__file__).parent / "digits" / "mnist5k.npz"
"""`images` (5000, 28, 28) and `labels` (5000,), both uint8; MNIST's terms lie beside it in NOTICE.txt."""


@DATASETS.register("mnist5k")
def mnist5k(
    *,
    split: str = "test",
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    pad: int = 2,
    channels: int = 1,
) -> MemoryDataset:
    """5,000 digits of MNIST's training set, which ship with the package.

    Args:
        split: "train" (4,000 digits) or "test" (1,000 digits).
        root: ignored; the digits lie in the package.
        download: ignored; there is nothing to download.
        pad: number of zeros added on every side of the 28x28 pixels; 2 gives (1, 32, 32), 0 gives (1, 28, 28).
        channels: number of equal channels; 3 gives images for networks of coloured ones.

    Raises:
        InputError: there is no such split, pad is not a whole number of at least 0, or channels is not one of at
            least 1.
    """
    check_split("mnist5k", split)
    with np.load(FILE, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    test, train = split_rows(images.reshape(len(images), -1), labels)
    rows = test if split == "test" else train
    padded = in_channels(padded_images(torch.from_numpy(images[rows]), pad), channels)
    name = padded_name("mnist5k", pad, channels)
    return MemoryDataset(name, split, DIGITS, padded, torch.from_numpy(labels[rows]).long())


def padded_images(images: Tensor, pad: int) -> Tensor:
    """(N, H, W) -> (N, 1, H + 2 pad, W + 2 pad): add a border of zeros.

    Raises:
        InputError: pad is not a whole number of at least 0.
    """
    if not isinstance(pad, int) or isinstance(pad, bool) or pad < 0:
        raise InputError(f"expected pad as a whole number of at least 0, got {pad!r}")
    return torch.nn.functional.pad(images[:, None], (pad,) * 4)


def in_channels(images: Tensor, channels: int) -> Tensor:
    """(N, 1, H, W) -> (N, channels, H, W): repeat the grey channel.

    Raises:
        InputError: channels is not a whole number of at least 1.
    """
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise InputError(f"expected channels as a whole number of at least 1, got {channels!r}")
    return images.repeat(1, channels, 1, 1)


def padded_name(name: str, pad: int, channels: int = 1) -> str:
    """Return the name that `load_data` takes for this padding and these channels; 2 and 1 are the defaults."""
    changed = [f"pad={pad}"] * (pad != 2) + [f"channels={channels}"] * (channels != 1)
    return f"{name}({', '.join(changed)})" if changed else name


def split_rows(pixels: Bytes, labels: Bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the row numbers of the test and of the training digits, by the rule at the head of this file.

    Args:
        pixels: (N, 784) uint8, the pixels of each digit.
        labels: (N,) uint8, the class of each digit.
    """
    digest = [hashlib.sha256(b"advkit mnist5k split 1:" + row.tobytes()).digest() for row in pixels]
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[sorted(members, key=lambda row: digest[row])] = np.arange(len(members))
    order = np.array(sorted(range(len(labels)), key=lambda row: (rank[row], digest[row])), dtype=np.int64)
    is_test = rank[order] < TEST_PER_CLASS
    return order[is_test], order[~is_test]
