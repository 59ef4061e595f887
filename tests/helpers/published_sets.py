"""Published data sets as small files in their real formats and places."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from advkit.data import published
from advkit.data._torchvision import digest
from advkit.data.corrupted import KINDS, MNIST_KINDS
from advkit.data.norb import STEMS

NAMES = {"mnist", "fashion_mnist", "cifar10", "cifar100", "norb", "caltech101", "caltech256", "imagenet"}
NAMES |= {"mnist_c", "cifar10_c", "cifar100_c"}
RNG = np.random.default_rng(0)
MAGIC = {"u1": 0x1E3D4C55, "<i4": 0x1E3D4C54, "<f4": 0x1E3D4C51, "<f8": 0x1E3D4C53, "<i2": 0x1E3D4C56}


def write_idx(path: Path, array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def write_mnist(folder: Path, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    for part in ("train", "t10k"):
        write_idx(folder / "raw" / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / "raw" / f"{part}-labels-idx1-ubyte", labels)


def write_cifar(root: Path, reader: Any, images: np.ndarray[Any, Any], labels: list[int]) -> None:
    """CIFAR's pickles, each with these images, and the names of the classes."""
    folder = root / reader.base_folder
    folder.mkdir()
    kind, count = ("labels", 10) if reader is datasets.CIFAR10 else ("fine_labels", 100)
    for number, (file, _) in enumerate([*reader.train_list, *reader.test_list]):
        rolled = np.roll(images, number, 2) if file.startswith(("data", "train")) else images
        (folder / file).write_bytes(pickle.dumps({"data": rolled.reshape(len(images), -1), kind: labels}))
    names = {reader.meta["key"]: [f"class {i}" for i in range(count)]}
    (folder / reader.meta["filename"]).write_bytes(pickle.dumps(names))


def declare_published(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Let the small files under `root` be the published ones, by their digests."""
    for file in filter(Path.is_file, root.rglob("*")):
        for parts in (*published.CIFAR10.values(), *published.CIFAR100.values()):
            if file.name in parts and file.parent.name.startswith("cifar"):
                monkeypatch.setitem(parts, file.name, digest(file))
        for split in published.SVHN:
            if file.name == f"{split}_32x32.mat":
                monkeypatch.setitem(published.SVHN, split, digest(file))


def matrix(array: np.ndarray[Any, Any], dtype: str) -> bytes:
    """The bytes of a file of NORB, written as the page of the data set describes it."""
    sizes = [*array.shape, *[1] * (3 - array.ndim)]
    header = struct.pack(f"<Ii{len(sizes)}i", MAGIC[dtype], array.ndim, *sizes)
    return header + array.astype(dtype).tobytes()


def write_norb(root: Path, count: int = 6, split: str = "test") -> tuple[np.ndarray[Any, Any], ...]:
    pairs = RNG.integers(0, 256, (count, 2, 96, 96), dtype=np.uint8)
    labels = np.arange(count) % 5
    taken = [np.arange(count) % 10, np.arange(count) % 9, 2 * (np.arange(count) % 18), np.arange(count) % 6]
    info = np.stack(taken, 1)
    folder = root / "norb"
    folder.mkdir(exist_ok=True)
    for part, content in (("dat", matrix(pairs, "u1")), ("cat", matrix(labels, "<i4")), ("info", matrix(info, "<i4"))):
        (folder / f"{STEMS[split]}-{part}.mat").write_bytes(content)
    return pairs, labels, info


def write_all(root: Path) -> set[str]:
    """Write every published set that can be read without torchvision, and return their names.

    ImageNet lies there with its devkit unpacked. ImageNet-C, which has none, gets its classes' names from torchvision.
    """
    images, labels = RNG.integers(0, 256, (4, 28, 28), dtype=np.uint8), np.arange(4, dtype=np.uint8)
    for folder in ("MNIST", "FashionMNIST"):
        write_mnist(root / folder, images, labels)
    for reader in (datasets.CIFAR10, datasets.CIFAR100):
        write_cifar(root, reader, RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8), labels.tolist())
    for split in STEMS:
        write_norb(root, split=split)
    for inner, name in (("caltech101/101_ObjectCategories", "ant"), ("caltech256/256_ObjectCategories", "001.ak47")):
        write_pictures(root / inner / name, 80)
    wnids = {f"n{number:08d}": (f"thing {number}",) for number in range(1000)}
    for split in ("train", "val"):
        write_pictures(root / "imagenet" / split / "n00000007", 1)
    torch.save((wnids, []), root / "imagenet" / "meta.bin")
    write_corrupted(root)
    return NAMES


def write_pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.JPEG")


def write_corrupted(root: Path, each: int = 4, folders: tuple[str, ...] = ("CIFAR-10-C", "CIFAR-100-C")) -> None:
    """MNIST-C and the sets of CIFAR's form in these folders."""
    for folder in folders:
        (root / folder).mkdir()
        np.save(root / folder / "labels.npy", np.tile(np.arange(each, dtype=np.uint8), 5))
        for kind in KINDS:
            np.save(root / folder / f"{kind}.npy", RNG.integers(0, 256, (5 * each, 32, 32, 3), dtype=np.uint8))
    for kind in MNIST_KINDS:
        (root / "mnist_c" / kind).mkdir(parents=True)
        for split in ("train", "test"):
            images = RNG.integers(0, 256, (each, 28, 28, 1), dtype=np.uint8)
            np.save(root / "mnist_c" / kind / f"{split}_images.npy", images)
            np.save(root / "mnist_c" / kind / f"{split}_labels.npy", np.arange(each, dtype=np.int64))
