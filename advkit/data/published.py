"""MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN as their authors split them, read by torchvision.

Each takes `split`, `root` and `download` of `load_data`. The grey ones are padded from 28x28 to (1, 32, 32) with zeros.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.data._dataset import DATASETS, MemoryDataset, check_split
from advkit.data._files import data_root
from advkit.data.mnist5k import DIGITS, mnist5k

Root = str | os.PathLike[str] | None


@DATASETS.register("mnist")
def mnist(*, split: str = "test", root: Root = None, download: bool = False) -> MemoryDataset:
    """MNIST (LeCun, Cortes, Burges): 10,000 test digits; the training split leaves out the 1,000 that test `mnist5k`.

    Those are training digits of MNIST (found by their pixels), so 59,000 remain, and one test set serves both.
    """
    images, labels, _ = _read("mnist", "MNIST", split, root, download)
    images, labels = _padded(images), torch.as_tensor(labels)
    if split == "train":
        held_out = {image.numpy().tobytes() for image in _stored(mnist5k(split="test", root=root))}
        keep = torch.tensor([image.numpy().tobytes() not in held_out for image in images], dtype=torch.bool)
        images, labels = images[keep], labels[keep]
    return MemoryDataset("mnist", split, DIGITS, images, labels)


@DATASETS.register("fashion_mnist")
def fashion_mnist(*, split: str = "test", root: Root = None, download: bool = False) -> MemoryDataset:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): 60,000/10,000 pieces of clothing."""
    images, labels, classes = _read("fashion_mnist", "FashionMNIST", split, root, download)
    return MemoryDataset("fashion_mnist", split, classes, _padded(images), torch.as_tensor(labels))


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
    """Street View House Numbers (Netzer et al. 2011), digits (3, 32, 32): 73,257/26,032; reading needs scipy."""
    images, labels, _ = _read("svhn", "SVHN", split, root, download)
    return MemoryDataset("svhn", split, DIGITS, torch.from_numpy(np.ascontiguousarray(images)), torch.as_tensor(labels))


def _read(name: str, reader: str, split: str, root: Root, download: bool) -> tuple[Any, Any, Sequence[str]]:
    """Images, labels and class names as torchvision's class `reader` holds them."""
    from torchvision import datasets  # here: the import takes a second that the embedded digits need not wait for

    check_split(name, split)
    home = data_root(root)
    which: dict[str, Any] = {"split": split} if reader == "SVHN" else {"train": split == "train"}
    data = _open(name, getattr(datasets, reader), home, {**which, "download": download})
    images = data.data
    labels = data.labels if reader == "SVHN" else data.targets
    return images, labels, getattr(data, "classes", ())


def _open(name: str, reader: Callable[..., Any], home: Path, options: dict[str, Any]) -> Any:
    """torchvision's data set; what it raises for a missing, broken or unreachable one says what to do."""
    try:
        return reader(str(home), **options)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name} cannot be read without the package {error.name}: run pip install {error.name}"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        if options["download"]:
            raise InputError(f"cannot download {name} to {home}: {_line(error)}") from error
        command = f'python -c "import advkit; advkit.load_data({name!r}, root={str(home)!r}, download=True)"'
        raise InputError(f"{name} is not under {home}, or is broken; this downloads it: {command}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _padded(images: Tensor) -> Tensor:
    """(N, 28, 28) -> (N, 1, 32, 32)."""
    return torch.nn.functional.pad(images[:, None], (2, 2, 2, 2))


def _channels_first(images: Any) -> Tensor:
    """(N, 32, 32, 3) array -> (N, 3, 32, 32)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _stored(data: MemoryDataset) -> Tensor:
    """Images as bytes, (N, C, H, W) uint8."""
    return data.tensors()[0].mul(255).round().byte()
