"""Small NORB (LeCun, Huang, Bottou 2004): pairs of photographs of toys, and a reader of its file format.

A file of the format is a little-endian header (magic number of the type, number of dimensions, their sizes, at least
three of them stored) and then the matrix. See https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/.
"""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.data._dataset import DATASETS, Dataset, check_split
from advkit.data._folders import Root, data_root
from advkit.data._images import check_size
from advkit.data._torchvision import PublishedFile, broken, line, missing

CLASSES = ("animal", "human", "airplane", "truck", "car")
VIEWS = {"both": slice(0, 2), "left": slice(0, 1), "right": slice(1, 2)}
TYPES: dict[int, np.dtype[Any]] = {
    0x1E3D4C51: np.dtype("<f4"),
    0x1E3D4C53: np.dtype("<f8"),
    0x1E3D4C54: np.dtype("<i4"),
    0x1E3D4C55: np.dtype("u1"),
    0x1E3D4C56: np.dtype("<i2"),
}
"""Magic number -> type of the entries; the format's packed matrix (0x1E3D4C52) occurs nowhere in NORB."""

URL = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
STEMS = {
    "train": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "test": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}
MD5 = {
    "train": {
        "dat": ("66054832f9accfe74a0f4c36a75bc0a2", "8138a0902307b32dfa0025a36dfa45ec"),
        "cat": ("23c8b86101fbf0904a000b43d3ed2fd9", "fd5120d3f770ad57ebe620eb61a0b633"),
        "info": ("51dee1210a742582ff607dfd94e332e3", "19faee774120001fc7e17980d6960451"),
    },
    "test": {
        "dat": ("e4ad715691ed5a3a5f138751a4ceb071", "e9920b7f7b2869a8f1a12e945b2c166c"),
        "cat": ("5aa791cd7e6016cf957ce9bdb93b8603", "fd5120d3f770ad57ebe620eb61a0b633"),
        "info": ("a9454f3864d7fd4bb3ea7fc3eb84924e", "7c5b871cc69dcadec1bf6a18141f5edc"),
    },
}
"""MD5 of each file as it is downloaded (.gz) and unpacked."""


@DATASETS.register("norb")
class NORB(Dataset):
    """Small NORB: 24,300/24,300 pairs (2, 96, 96) of 5 kinds of toys; the test split shows other toys.

    The set knows how every image was taken. The first channel is the left camera's. Images stay on the disk.

    Args:
        split: "train" (toys 4, 6, 7, 8, 9 of each kind) or "test" (toys 0, 1, 2, 3, 5).
        view: "both" images of a pair as two channels, or one, "left" or "right".
        size: side of the images, resized as torchvision does (bilinear, antialiased); None keeps 96.
        root: folder that holds `norb/` with the files that the authors distribute, unpacked.
        download: whether to get these files (300 MB, 900 unpacked); all are verified by their MD5.

    Attributes:
        instance: (N,) int64, which toy of its kind: 0 .. 9.
        elevation: (N,) int64, of the camera, in degrees from the horizontal: 30, 35 .. 70.
        azimuth: (N,) int64, of the toy, in degrees: 0, 20 .. 340; each toy's zero is its own.
        lighting: (N,) int64, which of the lamps: 0 .. 5.

    Raises:
        InputError: there is no such split or view, or the set is missing (the message gives the command that downloads
            it) or broken.
    """

    def __init__(
        self,
        *,
        split: str = "test",
        root: Root = None,
        download: bool = False,
        view: str = "both",
        size: int | None = None,
    ) -> None:
        check_split("norb", split)
        if view not in VIEWS:
            raise unknown("view of norb", view, VIEWS)
        check_size(size, None)
        home = data_root(root) / "norb"
        files = published(home, split)
        if download:
            _download(home, split, files)
        if not any(file.path.exists() for file in files.values()):
            raise missing("norb", root, home)
        try:
            self._pairs, labels, info = (read_matrix(files[part].path) for part in ("dat", "cat", "info"))
            _check(self._pairs, labels, info)
        except (OSError, ValueError) as error:
            raise broken("norb", root, home, list(files.values()), line(error)) from error
        self.name, self.split, self.classes = "norb", split, CLASSES
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.instance, elevation, azimuth, self.lighting = torch.from_numpy(info.astype(np.int64)).unbind(1)
        self.elevation, self.azimuth = 30 + 5 * elevation, 10 * azimuth
        self._view, self._size, self._file = VIEWS[view], size, files["dat"].path
        height, width = self._pairs.shape[2:] if size is None else (size, size)
        self.input_shape = (self._view.stop - self._view.start, height, width)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the mapped file, so that worker processes get its name and not its 450 MB."""
        return {**self.__dict__, "_pairs": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the file into memory again."""
        self.__dict__.update(state, _pairs=read_matrix(state["_file"]))

    def _images(self, rows: Tensor) -> Tensor:
        images = torch.from_numpy(self._pairs[rows.numpy(), self._view]).float().div_(255)
        if self._size is None:
            return images
        from torchvision.transforms.v2 import functional

        resized: Tensor = functional.resize(images, [self._size, self._size], antialias=True)
        return resized.clamp_(0, 1)


def published(home: Path, split: str) -> dict[str, PublishedFile]:
    """Return the three files of a split: images (dat), labels (cat), and how they were taken (info)."""
    return {part: PublishedFile(home / f"{STEMS[split]}-{part}.mat", check=read_matrix) for part in MD5[split]}


def read_matrix(path: Path) -> npt.NDArray[Any]:
    """Map the matrix in a file of NORB's format into memory, read-only.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not of the format, or is too short or too long.
    """
    with path.open("rb") as file:
        head = file.read(8)
        magic, count = struct.unpack("<Ii", head) if len(head) == 8 else (0, 0)
        if magic not in TYPES or not 1 <= count <= 8:
            found = f"the first bytes {head.hex()}" if head else "an empty file"
            raise ValueError(f"expected a matrix in NORB's format, got {found}")
        stored = max(3, count)  # a vector's header has two more sizes, of 1
        sizes = [int.from_bytes(file.read(4), "little", signed=True) for _ in range(stored)]
    if min(sizes) < 0:
        raise ValueError(f"expected sizes of 0 or more, got {sizes}")
    shape, dtype = tuple(sizes[:count]), TYPES[magic]
    expected, there = 8 + 4 * stored + dtype.itemsize * math.prod(shape), path.stat().st_size
    if there != expected:
        raise ValueError(f"expected {expected} bytes for a matrix of {shape}, got {there}")
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", 8 + 4 * stored, shape)


def _check(pairs: npt.NDArray[Any], labels: npt.NDArray[Any], info: npt.NDArray[Any]) -> None:
    """Raise ValueError unless the three matrices belong together."""
    count = len(pairs)
    if pairs.dtype != np.uint8 or pairs.ndim != 4 or pairs.shape[1] != 2:
        raise ValueError(f"expected images (N, 2, H, W) of bytes, got {pairs.shape} of {pairs.dtype}")
    if labels.shape != (count,) or info.shape != (count, 4):
        raise ValueError(f"expected {count} labels and {count} rows of 4, got {labels.shape} and {info.shape}")
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < len(CLASSES):
        raise ValueError(f"expected labels in 0 .. {len(CLASSES) - 1}, got {labels.min()} .. {labels.max()}")


def _download(home: Path, split: str, files: dict[str, PublishedFile]) -> None:
    """Get the files that are not there or are not the published ones, by torchvision's functions."""
    from torchvision.datasets.utils import check_integrity, download_and_extract_archive

    for part, (packed, unpacked) in MD5[split].items():
        path = files[part].path
        if check_integrity(str(path), unpacked):
            continue
        try:
            download_and_extract_archive(f"{URL}{path.name}.gz", str(home), md5=packed, remove_finished=True)
        except Exception as error:  # urllib and gzip raise nearly anything
            raise InputError(f"cannot download norb to {home}: {line(error)}") from error
        if not check_integrity(str(path), unpacked):
            raise InputError(f"{path} is not the published file after it was unpacked: is the disk full?")
