"""Caltech-101 (Fei-Fei, Fergus, Perona 2004) and Caltech-256 (Griffin, Holub, Perona 2007), downloaded by torchvision.

Their authors give no split. Ours is a rule that needs no random number generator: within a class the images are ranked
by the SHA-256 of CLASS/FILE, the first `train_per_class` are for training, the next, at most `test_per_class`, for
testing. Images have many sizes: `size`, `resize` and `grey` are those of ImageFiles, by default 224 cut out of 256.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from advkit.core.errors import InputError
from advkit.data._dataset import DATASETS, check_split
from advkit.data._folders import Root, data_root
from advkit.data._images import ImageFiles, shorter_side
from advkit.data._torchvision import missing, open_files
from advkit.data.folder import class_files

BACKGROUND = ("BACKGROUND_Google", "257.clutter")
"""Folders of images of nothing in particular: no class."""


@DATASETS.register("caltech101")
def caltech101(
    *,
    split: str = "test",
    root: Root = None,
    download: bool = False,
    train_per_class: int = 30,
    test_per_class: int | None = 50,
    size: int | None = 224,
    resize: int | None = None,
    grey: bool = False,
) -> ImageFiles:
    """Caltech-101: photographs of 101 classes; by default 30 of each to train, at most 50 others to test.

    The papers on it use the same numbers, such as Zeiler and Fergus 2013, and report the mean over classes.
    """
    names, home = _open("caltech101", "Caltech101", "101_ObjectCategories", root, download)
    chosen = _choose("caltech101", names, home, split, train_per_class, test_per_class)
    return ImageFiles("caltech101", split, names, *chosen, size=size, resize=shorter_side(size, resize), grey=grey)


@DATASETS.register("caltech256")
def caltech256(
    *,
    split: str = "test",
    root: Root = None,
    download: bool = False,
    train_per_class: int = 60,
    test_per_class: int | None = None,
    size: int | None = 224,
    resize: int | None = None,
    grey: bool = False,
) -> ImageFiles:
    """Caltech-256: photographs of 256 classes; by default 60 of each to train, all others to test."""
    names, home = _open("caltech256", "Caltech256", "256_ObjectCategories", root, download)
    chosen = _choose("caltech256", names, home, split, train_per_class, test_per_class)
    classes = [name.partition(".")[2] or name for name in names]  # 001.ak47
    return ImageFiles("caltech256", split, classes, *chosen, size=size, resize=shorter_side(size, resize), grey=grey)


def _open(name: str, reader: str, inner: str, root: Root, download: bool) -> tuple[list[str], Path]:
    """The class folders' names, and the folder that holds them."""
    place = data_root(root)
    home = place / name / inner
    if not download and not home.is_dir():
        raise missing(name, root, place)

    def fetch() -> object:
        from torchvision import datasets  # here: the import takes a second, which reading need not wait for

        return getattr(datasets, reader)(str(place), download=True)

    def read() -> list[str]:
        found = sorted(entry.name for entry in home.iterdir() if entry.is_dir())
        return [category for category in found if category not in BACKGROUND]

    return open_files(name, root, place, (), read, fetch if download else None), home


def _choose(
    name: str, names: Sequence[str], home: Path, split: str, train: int, test: int | None
) -> tuple[list[Path], list[int]]:
    """The files of a split and their labels, by the rule at the head of this file."""
    check_split(name, split)
    if train < 1 or (test is not None and test < 1):
        raise InputError(f"expected train_per_class and test_per_class of 1 or more, got {train} and {test}")
    files, labels = class_files(home, {name: label for label, name in enumerate(names)}, deep=False)
    digest = {file: hashlib.sha256(f"{file.parent.name}/{file.name}".encode()).digest() for file in files}
    members: dict[int, list[Path]] = {}
    for file, label in zip(files, labels, strict=True):
        members.setdefault(label, []).append(file)
    part = slice(train) if split == "train" else slice(train, None if test is None else train + test)
    chosen = [
        (file, label)
        for label, inside in members.items()
        for file in sorted(sorted(inside, key=digest.__getitem__)[part])
    ]
    if not chosen:
        raise InputError(f"{name} has no {split} image beyond {train} a class: lower train_per_class")
    return [file for file, _ in chosen], [label for _, label in chosen]
