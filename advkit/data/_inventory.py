"""What the disk holds of a data set: place, size, splits, and the number of images of each class."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advkit.core.files import user_path
from advkit.data._dataset import Dataset
from advkit.data._folders import data_root
from advkit.data._loading import form, load_data, registered
from advkit.data.archive import npz_splits
from advkit.data.factory import factory_splits
from advkit.data.folder import folder_splits
from advkit.data.mnist5k import FILE as DIGITS_FILE
from advkit.data.table import table_splits

PLACES = {
    "mnist": ("MNIST",),
    "fashion_mnist": ("FashionMNIST",),
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
    "svhn": ("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"),
    "norb": ("norb",),
    "caltech101": ("caltech101",),
    "caltech256": ("caltech256",),
    "imagenet": ("imagenet",),
    "mnist_c": ("mnist_c",),
    "cifar10_c": ("CIFAR-10-C",),
    "cifar100_c": ("CIFAR-100-C",),
    "imagenet_c": ("ImageNet-C",),
}
"""Files and folders of a set under the data root."""

PUBLISHED = {
    "mnist5k": {"train": 4_000, "test": 1_000},
    "mnist": {"train": 59_000, "test": 10_000},
    "fashion_mnist": {"train": 60_000, "test": 10_000},
    "cifar10": {"train": 50_000, "test": 10_000},
    "cifar100": {"train": 50_000, "test": 10_000},
    "svhn": {"train": 73_257, "test": 26_032, "extra": 531_131},
    "norb": {"train": 24_300, "test": 24_300},
    "imagenet": {"train": 1_281_167, "test": 50_000},
    "mnist_c": {"train": 60_000, "test": 10_000},
    "cifar10_c": {"test": 10_000},
    "cifar100_c": {"test": 10_000},
    "imagenet_c": {"test": 50_000},
}
"""How many images a split has as published, for the sets that have splits of their own."""


OWN_SPLITS: dict[str, Callable[[str], list[str]]] = {
    "folder": folder_splits,
    "npz": npz_splits,
    "csv": table_splits,
    "factory": lambda place: factory_splits(place.partition("(")[0].strip()),
}
"""How the splits of your own data are found, by the registered name of their form."""


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """What `inventory` found in one split.

    Attributes:
        split: name of the split.
        images: number of images.
        published: number of images as published; None if it is not fixed.
        input_shape: shape (C, H, W) of the images; None for a folder or a table, whose images have their own sizes.
        classes: names of the classes.
        per_class: number of images of each class, in the order of `classes`.
    """

    split: str
    images: int
    published: int | None
    input_shape: tuple[int, int, int] | None
    classes: tuple[str, ...]
    per_class: tuple[int, ...]


def places(name: str, root: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the existing files and folders of a set; none for a set that is made on the fly or by a function.

    Args:
        name: name or spec of a data set, as for `load_data`.
        root: folder of the data sets; default: $ADVKIT_DATA, or else the user's cache.
    """
    kind, path = form(name)
    if kind in ("folder", "npz", "csv"):
        return [user_path(path)] if user_path(path).exists() else []
    if kind == "mnist5k":
        return [DIGITS_FILE]
    home = data_root(root)
    return [home / place for place in PLACES.get(kind, ()) if (home / place).exists()]


def size_on_disk(paths: list[Path]) -> int:
    """Return the number of bytes in these files and in all files under these folders.

    Args:
        paths: files and folders.
    """
    files = (file for path in paths for file in ([path] if path.is_file() else path.rglob("*")))
    return sum(file.stat().st_size for file in files if file.is_file())


def splits(name: str) -> list[str]:
    """Return the names of the splits of a data set, whether or not they are on the disk; see `inventory` for that.

    Args:
        name: name or spec of a data set, as for `load_data`.

    Returns:
        Names such as "train", "test" and "extra"; of your own folder or file, those that it holds.

    Raises:
        InputError: your own folder, file or function cannot be read.
    """
    kind, text = form(name)
    if kind in OWN_SPLITS:
        return OWN_SPLITS[kind](text)
    return list(PUBLISHED.get(kind, ("train", "test")))


def inventory(name: str, split: str, root: str | os.PathLike[str] | None = None) -> tuple[SplitFacts, Dataset]:
    """Open one split and count its images.

    Args:
        name: name or spec of a data set, as for `load_data`.
        split: name of the split.
        root: folder of the data sets; default: $ADVKIT_DATA, or else the user's cache.

    Returns:
        What was counted, and the data set that was opened for it.

    Raises:
        MissingDataError: the split is not on the disk.
        InputError: the split is broken.
    """
    by_file = registered(name) in ("folder", "csv")
    options: dict[str, Any] = {"size": 1} if by_file else {}  # images of several sizes are counted too
    data = load_data(name, split=split, root=root, **options)
    counts = data.labels.bincount(minlength=len(data.classes))
    facts = SplitFacts(
        split=split,
        images=len(data),
        published=PUBLISHED.get(registered(name), {}).get(split),
        input_shape=None if by_file else data.input_shape,
        classes=data.classes,
        per_class=tuple(counts.tolist()),
    )
    return facts, data
