"""`folder:PATH`: your own images, one folder a class, read from the disk when they are needed."""

import os
from collections.abc import Sequence
from pathlib import Path

from advkit.core.errors import InputError, unknown, warn
from advkit.core.files import user_path
from advkit.data._dataset import DATASETS
from advkit.data._images import ImageFiles, check_size, is_image, some

SPLITS = ("train", "val", "test")


@DATASETS.register("folder")
class FolderDataset(ImageFiles):
    """The images under `path`, sorted by class and file name; only file names and labels are held in memory.

    Which files count, and their order, are those of torchvision's ImageFolder: suffixes in any case, folders within a
    class folder, links followed. There are three differences. Hidden files and folders (".ipynb_checkpoints") do not
    count. Folders that are all called by whole numbers keep these numbers. A class folder may be empty. What does not
    count is warned of, with its number and some of its names.

    Each folder is a class; its index is the folder's rank among the sorted names. If every name is a whole number, the
    index is that number, so ImageNet's indices do not change ("0002" is class 2, also without folders 0 and 1).
    A folder that holds nothing but folders named train, val or test has those splits, and a class has the same index
    in all of them; any other folder is its own "test" split.

    Args:
        path: the folder of the class folders.
        split: "train", "val" or "test".
        size, resize, grey: size and channels of the images, see `ImageFiles`.
        root, download: ignored; every data set takes them.

    Raises:
        InputError: there is no such folder, split or image, or `ImageFiles` raises it.

    Warns:
        AdvkitWarning: files that are left out because they are hidden, lie in no class folder, are pipes or devices,
            or their suffix is not that of an image.
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        split: str = "test",
        size: int | None = None,
        resize: int | None = None,
        grey: bool = False,
        root: str | os.PathLike[str] | None = None,
        download: bool = False,
    ) -> None:
        size, resize = check_size(size, resize)
        self.path = user_path(path)
        home, names = _split(self.path, split)
        classes, numbers = _classes(names, self.path)
        files, labels = class_files(home, numbers)
        super().__init__(f"folder:{path}", split, classes, files, labels, size=size, resize=resize, grey=grey)


def in_order(splits: set[str]) -> list[str]:
    """Return the splits with a usual name in their order, then the others by name."""
    return [split for split in SPLITS if split in splits] + sorted(splits - {*SPLITS})


def folder_splits(path: str | os.PathLike[str]) -> list[str]:
    """Return the splits of a folder of images, in the order train, val, test.

    Raises:
        InputError: no such folder.
    """
    names = _folders(user_path(path))
    return in_order({*names}) if _is_split(names) else ["test"]


def class_files(home: Path, numbers: dict[str, int], *, deep: bool = True) -> tuple[list[Path], list[int]]:
    """Return the image files in the class folders of `home` and their labels, sorted by label and file.

    Args:
        home: the folder of the class folders; a missing folder counts as empty.
        numbers: the label of every class folder.
        deep: whether to look into the folders within a class folder too.

    Raises:
        InputError: there is no image.

    Warns:
        AdvkitWarning: files that are left out because they are hidden, lie in no class folder, are pipes or devices,
            or their suffix is not that of an image.
    """
    files: list[Path] = []
    labels: list[int] = []
    others: list[Path] = [] if not deep else _beside(home)
    for name, number in sorted(numbers.items(), key=lambda item: (item[1], item[0])):
        inside = _walk(home / name, deep)
        images = [file for file in inside if _counts(file, home / name)]
        others += [file for file in inside if not _counts(file, home / name)]
        files += images
        labels += [number] * len(images)
    if others:
        message = (
            f"{len(others)} files under {home} are left out, as they are hidden, lie in no class folder, are no files "
            f"with content, or their suffix is not that of an image: {some(others)}"
        )
        warn(message)
    if not files:
        raise InputError(f"found no image in the class folders of {home}: expected such files as {home}/CLASS/NAME.png")
    return files, labels


def _walk(folder: Path, deep: bool) -> list[Path]:
    """The files of a folder in torchvision's order: by the folder that they lie in, then by name."""
    places = _tree(folder)[: None if deep else 1]
    return [Path(place) / name for place, names in places for name in sorted(names)]


def _tree(folder: Path) -> list[tuple[str, list[str]]]:
    """(folder, names of its files), sorted; links are followed, but for those to a folder around themselves."""
    found = []
    for place, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        around = {os.path.realpath(part) for part in (Path(place), *Path(place).parents)}
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) not in around]
        found.append((place, names))
    return sorted(found)


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # not every split has every class
        raise InputError(
            f"cannot read the folder {error.filename}: {error.strerror}; make it readable, or move it away"
        )


def _beside(home: Path) -> list[Path]:
    """The images beside the class folders, and the files in hidden folders there, which are no classes."""
    entries = sorted(home.iterdir())
    hidden = [entry for entry in entries if entry.is_dir() and entry.name.startswith(".")]
    images = [entry for entry in entries if not entry.is_dir() and is_image(entry)]
    return images + [file for folder in hidden for file in _walk(folder, True)]


def _counts(file: Path, home: Path) -> bool:
    """Whether a file is one of the images: neither it nor a folder around it is hidden, and its suffix is right.

    A link that leads nowhere counts, and reading it is an error; a pipe does not: reading it would wait for ever.
    """
    shown = not any(part.startswith(".") for part in file.relative_to(home).parts)
    return shown and is_image(file) and (file.is_file() or not file.exists())


def _folders(path: Path) -> list[str]:
    if not path.is_dir():
        raise InputError(f"expected a folder with one folder a class, got {str(path)!r}: no such folder")
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _is_split(names: Sequence[str]) -> bool:
    return bool(names) and set(names) <= set(SPLITS)


def _split(path: Path, split: str) -> tuple[Path, list[str]]:
    """The folder of this split, and the names of the class folders in any split."""
    names = _folders(path)
    if _is_split(names):
        if split not in names:
            raise unknown(f"split of folder:{path}", split, names)
        return path / split, sorted({name for part in names for name in _folders(path / part)})
    if split != "test":
        raise InputError(f"folder:{path} has no split {split!r}: move its class folders into {path / split}")
    return path, names


def _classes(names: Sequence[str], path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """The name of every class index, and the index of every folder."""
    if not names:
        raise InputError(f"expected one folder a class in {path}, found no folder")
    if not all(name.isascii() and name.isdecimal() for name in names):
        return tuple(names), {name: rank for rank, name in enumerate(names)}
    numbers = {name: int(name) for name in names}
    if len(set(numbers.values())) < len(names):
        raise InputError(f"two folders in {path} stand for the same number: rename one, such as '1' beside '01'")
    if max(numbers.values()) > 1_000_000:
        raise InputError(f"expected class numbers up to 1000000 in {path}, got {max(numbers.values())}")
    return tuple(map(str, range(max(numbers.values()) + 1))), numbers
