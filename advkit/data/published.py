"""MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN with their authors' splits, read by torchvision.

Each takes `split`, `root` and `download` of `load_data`. The grey ones take `pad` too, the number of zeros added on
every side of the 28x28 pixels: 2, the default, gives (1, 32, 32), and 0 gives (1, 28, 28).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from advkit.data._dataset import DATASETS, MemoryDataset, check_split
from advkit.data._folders import data_root
from advkit.data._inventory import PLACES
from advkit.data._torchvision import PublishedFile, Root, missing, open_reader
from advkit.data.mnist5k import DIGITS, mnist5k, padded_images, padded_name


@DATASETS.register("mnist")
def mnist(*, split: str = "test", root: Root = None, download: bool = False, pad: int = 2) -> MemoryDataset:
    """MNIST (LeCun, Cortes, Burges): 10,000 test digits; the training split leaves out the 1,000 that test `mnist5k`.

    Those are training digits of MNIST (found by their pixels), so 59,000 remain, and both sets share one test set.
    """
    images, labels, _ = _read("mnist", "MNIST", split, root, download)
    images, labels = padded_images(images, pad), torch.as_tensor(labels)
    if split == "train":
        held_out = {image.numpy().tobytes() for image in mnist5k(split="test", pad=pad).stored}
        keep = torch.tensor([image.numpy().tobytes() not in held_out for image in images], dtype=torch.bool)
        images, labels = images[keep], labels[keep]
    return MemoryDataset(padded_name("mnist", pad), split, DIGITS, images, labels)


@DATASETS.register("fashion_mnist")
def fashion_mnist(*, split: str = "test", root: Root = None, download: bool = False, pad: int = 2) -> MemoryDataset:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): 60,000/10,000 pieces of clothing."""
    images, labels, classes = _read("fashion_mnist", "FashionMNIST", split, root, download)
    name = padded_name("fashion_mnist", pad)
    return MemoryDataset(name, split, classes, padded_images(images, pad), torch.as_tensor(labels))


@DATASETS.register("cifar10")
def cifar10(*, split: str = "test", root: Root = None, download: bool = False) -> MemoryDataset:
    """CIFAR-10 (Krizhevsky 2009): 50,000/10,000 colour images (3, 32, 32)."""
    images, labels, classes = _read("cifar10", "CIFAR10", split, root, download)
    return MemoryDataset("cifar10", split, classes, _channels_first(images), torch.as_tensor(labels))


@DATASETS.register("cifar100")
def cifar100(*, split: str = "test", root: Root = None, download: bool = False) -> MemoryDataset:
    """CIFAR-100 (Krizhevsky 2009): 50,000/10,000 colour images (3, 32, 32) of 100 classes."""
    images, labels, classes = _read("cifar100", "CIFAR100", split, root, download)
    return MemoryDataset("cifar100", split, classes, _channels_first(images), torch.as_tensor(labels))


@DATASETS.register("svhn")
def svhn(*, split: str = "test", root: Root = None, download: bool = False) -> MemoryDataset:
    """Street View House Numbers (Netzer et al. 2011), digits (3, 32, 32): 73,257/26,032; reading needs scipy.

    The split "extra" holds 531,131 easier digits.
    """
    images, labels, _ = _read("svhn", "SVHN", split, root, download, ("train", "test", "extra"))
    return MemoryDataset("svhn", split, DIGITS, torch.from_numpy(np.ascontiguousarray(images)), torch.as_tensor(labels))


def _read(
    name: str, reader: str, split: str, root: Root, download: bool, splits: Sequence[str] = ("train", "test")
) -> tuple[Any, Any, Sequence[str]]:
    """Images, labels and class names as torchvision's class `reader` holds them."""
    check_split(name, split, splits)
    home = data_root(root)
    if not download and not any((home / place).exists() for place in PLACES[name]):
        raise missing(name, root, home)
    from torchvision import datasets  # here: the import takes a second, which a set that is not there need not wait for

    kind = getattr(datasets, reader)
    which: dict[str, Any] = {"split": split} if reader == "SVHN" else {"train": split == "train"}
    files = _files(kind, home, split)
    data = open_reader(name, root, home, lambda d: kind(str(home), **which, download=d), files, download=download)
    labels = data.labels if reader == "SVHN" else data.targets
    return data.data, labels, getattr(data, "classes", ())


def _files(kind: Any, home: Path, split: str) -> list[PublishedFile]:
    """What torchvision's class needs on the disk."""
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor as read_idx

    if hasattr(kind, "resources"):  # the MNIST family; only the packed files have a digest
        names = [Path(file).stem for file, _ in kind.resources]
        return [PublishedFile(home / kind.__name__ / "raw" / name, check=read_idx) for name in names]
    if hasattr(kind, "split_list"):  # SVHN
        _, name, md5 = kind.split_list[split]
        return [PublishedFile(home / name, md5)]
    listed = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    return [PublishedFile(home / kind.base_folder / name, md5) for name, md5 in listed]


def _channels_first(images: Any) -> torch.Tensor:
    """(N, 32, 32, 3) array -> (N, 3, 32, 32)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
