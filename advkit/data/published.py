"""MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN with their authors' splits; torchvision downloads them.

Each takes `split`, `root` and `download` of `load_data`. The grey ones take `pad` too, the number of zeros added on
every side of the 28x28 pixels: 2, the default, gives (1, 32, 32), and 0 gives (1, 28, 28). With `channels=3` they
repeat their grey channel.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from advkit.data._dataset import DATASETS, MemoryDataset, check_split
from advkit.data._folders import Root, data_root
from advkit.data._formats import read_cifar, read_cifar_names, read_idx, read_svhn
from advkit.data._torchvision import PublishedFile, digest, open_files
from advkit.data.mnist5k import DIGITS, in_channels, mnist5k, padded_images, padded_name

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
IDX = {"train": "train", "test": "t10k"}
CIFAR10 = {
    "train": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
    "names": {"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
}
CIFAR100 = {
    "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
    "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    "names": {"meta": "7973b15100ade9c7d40fb424638fde48"},
}
"""The files of each split and of the classes' names, with the MD5 that the authors publish."""

SVHN = {
    "train": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test": "eb5a983be6a315427106f1b164d9cef3",
    "extra": "a93ce644f1a588dc4d68dda5feec44a7",
}
"""MD5 of each split's file."""


@DATASETS.register("mnist")
def mnist(
    *, split: str = "test", root: Root = None, download: bool = False, pad: int = 2, channels: int = 1
) -> MemoryDataset:
    """MNIST (LeCun, Cortes, Burges): 10,000 test digits; the training split leaves out the 1,000 that test `mnist5k`.

    Those are training digits of MNIST (found by their pixels), so 59,000 remain, and both sets share one test set.
    """
    images, labels = _idx("mnist", "MNIST", split, root, download)
    if split == "train":
        held_out = {image.tobytes() for image in mnist5k(split="test", pad=0).stored.numpy()}
        keep = torch.tensor(
            [image.tobytes() not in held_out for image in images.numpy()], dtype=torch.bool, device="cpu"
        )
        images, labels = images[keep], labels[keep]
    images = padded_images(images, pad)
    return MemoryDataset(padded_name("mnist", pad, channels), split, DIGITS, in_channels(images, channels), labels)


@DATASETS.register("fashion_mnist")
def fashion_mnist(
    *, split: str = "test", root: Root = None, download: bool = False, pad: int = 2, channels: int = 1
) -> MemoryDataset:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): 60,000/10,000 pieces of clothing."""
    images, labels = _idx("fashion_mnist", "FashionMNIST", split, root, download)
    images = in_channels(padded_images(images, pad), channels)
    return MemoryDataset(padded_name("fashion_mnist", pad, channels), split, CLOTHES, images, labels)


@DATASETS.register("cifar10")
def cifar10(*, split: str = "test", root: Root = None, download: bool = False) -> MemoryDataset:
    """CIFAR-10 (Krizhevsky 2009): 50,000/10,000 colour images (3, 32, 32)."""
    folder, key = "cifar-10-batches-py", "label_names"
    return _cifar("cifar10", "CIFAR10", CIFAR10, folder, key, split, root, download)


@DATASETS.register("cifar100")
def cifar100(*, split: str = "test", root: Root = None, download: bool = False) -> MemoryDataset:
    """CIFAR-100 (Krizhevsky 2009): 50,000/10,000 colour images (3, 32, 32) of 100 classes."""
    folder, key = "cifar-100-python", "fine_label_names"
    return _cifar("cifar100", "CIFAR100", CIFAR100, folder, key, split, root, download)


@DATASETS.register("svhn")
def svhn(*, split: str = "test", root: Root = None, download: bool = False) -> MemoryDataset:
    """Street View House Numbers (Netzer et al. 2011), digits (3, 32, 32): 73,257/26,032; reading needs scipy.

    The split "extra" holds 531,131 easier digits.
    """
    check_split("svhn", split, tuple(SVHN))
    home = data_root(root)
    file = PublishedFile(home / f"{split}_32x32.mat", SVHN[split])
    fetch = _fetch("SVHN", home, split=split) if download else None
    images, labels = open_files("svhn", root, home, [file], lambda: read_svhn(_verified(file)), fetch)
    return MemoryDataset("svhn", split, DIGITS, images, labels)


def _idx(name: str, reader: str, split: str, root: Root, download: bool) -> tuple[Tensor, Tensor]:
    """Images (N, 28, 28) and labels of a split of the MNIST family; only its packed files have a digest."""
    check_split(name, split)
    home = data_root(root)
    files = [
        PublishedFile(home / reader / "raw" / f"{part}-{kind}-ubyte", check=read_idx)
        for part in IDX.values()
        for kind in ("images-idx3", "labels-idx1")
    ]
    images, labels = files[:2] if split == "train" else files[2:]
    fetch = _fetch(reader, home) if download else None
    return open_files(name, root, home, files, lambda: (read_idx(images.path), read_idx(labels.path)), fetch)


def _cifar(
    name: str,
    reader: str,
    parts: dict[str, dict[str, str]],
    folder: str,
    key: str,
    split: str,
    root: Root,
    download: bool,
) -> MemoryDataset:
    """A split of CIFAR-10 or CIFAR-100; `key` is where the file of the names has those of the classes."""
    check_split(name, split)
    home = data_root(root)
    files = {
        part: [PublishedFile(home / folder / file, md5) for file, md5 in members.items()]
        for part, members in parts.items()
    }

    def read() -> MemoryDataset:
        classes = read_cifar_names(_verified(files["names"][0]), key)
        images, labels = read_cifar([_verified(file) for file in files[split]])
        return MemoryDataset(name, split, classes, images, labels)

    every = [file for members in files.values() for file in members]
    return open_files(name, root, home, every, read, _fetch(reader, home) if download else None)


def _verified(file: PublishedFile) -> Path:
    """The path of a file that is the published one.

    Raises:
        ValueError: it is another one.
    """
    if digest(file.path) != file.md5:
        raise ValueError(f"{file.path.name} is not the published file")
    return file.path


def _fetch(reader: str, home: Path, **which: str) -> Callable[[], object]:
    """What downloads a set: torchvision's class of that name."""

    def fetch() -> object:
        from torchvision import datasets  # here: the import takes a second, which reading need not wait for

        return getattr(datasets, reader)(str(home), download=True, **which)

    return fetch
