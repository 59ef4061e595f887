"""A table of files of images and their labels: `load_data("FILE.csv")`."""

import codecs
import csv
import os
from collections.abc import Sequence
from pathlib import Path

from advkit.core.errors import InputError, unknown
from advkit.core.files import user_path
from advkit.core.words import harmless
from advkit.data._dataset import DATASETS
from advkit.data._folders import Root
from advkit.data._images import ImageFiles
from advkit.data.folder import in_order

FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "name")
LABEL_COLUMNS = ("label", "class", "target", "y", "category")


@DATASETS.register("csv")
def table(
    *,
    path: str | os.PathLike[str],
    split: str = "test",
    size: int | None = None,
    resize: int | None = None,
    grey: bool = False,
    root: Root = None,
    download: bool = False,
) -> ImageFiles:
    """The images that a table lists with their labels.

    Args:
        path: path of FILE.csv with a column of file names, relative to its folder, and one of labels. They are the
            columns called "file" (or "filename", "path", "image") and "label" (or "class", "target"), else the first
            two. Labels are whole numbers, or names whose sorted rank in the whole table is the label.
        split: value of the column "split" in the rows to read; a table without that column is its own "test" split.
        size, resize, grey: size and channels of the images, see `ImageFiles`.
        root, download: ignored; every data set takes them.

    Raises:
        InputError: there is no such table, a row lacks file or label, files are missing, or `ImageFiles` raises it.
    """
    home = user_path(path)
    rows, every = _rows(home, split)
    names = [label for _, label in rows]
    classes = _class_names(every, home)
    files = [_place(home.parent, name) for name, _ in rows]
    lost = [file for file in files if not _is_file(file)]
    if lost:
        raise InputError(f"{len(lost)} of {len(files)} files of {home} are not there: {harmless(lost[0])}")
    numbers = {name: rank for rank, name in enumerate(classes)}
    labels = [int(name) if name.isdecimal() and classes[0] == "0" else numbers[name] for name in names]
    return ImageFiles(str(path), split, classes, files, labels, size=size, resize=resize, grey=grey)


def _place(home: Path, name: str) -> Path:
    """The file that a table names; a table from Windows may have backslashes for slashes."""
    file = home / name
    return home / name.replace("\\", "/") if "\\" in name and not _is_file(file) else file


def _is_file(path: Path) -> bool:
    """Whether there is such a file; there is none whose name the system refuses."""
    try:
        return path.is_file()
    except OSError:
        return False


def _rows(path: Path, split: str) -> tuple[list[tuple[str, str]], list[str]]:
    """(file, label) of the rows of a split, and the labels of all splits: a class has one number in all of them."""
    head, body, part = _table(path)
    column = _columns(head)
    if part is None and split != "test":
        raise InputError(f"{path} has no split {split!r}: give its rows a column called split")
    wanted = [line for line in body if part is None or (len(line) > part and line[part].strip() == split)]
    if part is not None and body and not wanted:
        raise unknown(f"split of {path}", split, sorted({line[part].strip() for line in body if len(line) > part}))
    short = [line for line in wanted if len(line) <= max(column) or not all(line[i].strip() for i in column)]
    if short or not wanted:
        got = short[0] if short else "no row"
        raise InputError(f"expected a file and a label in every row of {path}, separated by commas, got {got}")
    every = [line[column[1]].strip() for line in body if len(line) > column[1]]
    return [(line[column[0]].strip(), line[column[1]].strip()) for line in wanted], list(filter(None, every))


def table_splits(path: str | os.PathLike[str]) -> list[str]:
    """Return the values of a table's column "split"; ["test"] for a table without it or without rows.

    Raises:
        InputError: the table cannot be read.
    """
    _, body, part = _table(user_path(path))
    found = set() if part is None else {line[part].strip() for line in body if len(line) > part}
    return in_order(found) or ["test"]


def _table(path: Path) -> tuple[list[str], list[list[str]], int | None]:
    """The head in lower case, the other lines, and the number of the column called split; None without one."""
    try:
        with path.open(newline="", encoding=_encoding(path), errors="surrogateescape") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"cannot read the table {path}: {error}") from error
    head = [cell.strip().lower() for cell in lines[0]] if lines else []
    body = lines[1:] if set(head) & {*FILE_COLUMNS, *LABEL_COLUMNS} else lines
    return head, body, head.index("split") if "split" in head else None


def _encoding(path: Path) -> str:
    """UTF-16 where its mark comes first, as in texts of some Windows programs; else UTF-8 with or without a mark."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _columns(head: Sequence[str]) -> tuple[int, int]:
    """Columns of file and label."""
    file = next((head.index(name) for name in FILE_COLUMNS if name in head), 0)
    return file, next((head.index(name) for name in LABEL_COLUMNS if name in head), 1 if file == 0 else 0)


def _class_names(names: Sequence[str], path: Path) -> list[str]:
    """All classes: 0 .. K - 1 of whole numbers, else the sorted names."""
    whole = [name for name in names if name.isascii() and name.isdecimal()]
    others = [name for name in names if name not in set(whole)]
    if whole and others:
        raise InputError(
            f"expected all labels of {path} as whole numbers or all as names, got {whole[0]} and {others[0]}"
        )
    if numbers := [name for name in others if _is_number(name)]:
        raise InputError(f"expected labels of {path} as whole numbers from 0 up, or as names, got {numbers[0]}")
    if others:
        return sorted(set(names))
    most = max(map(int, names))
    if most > 1_000_000:
        raise InputError(f"expected class numbers up to 1000000 in {path}, got {most}")
    return [str(number) for number in range(most + 1)]


def _is_number(text: str) -> bool:
    """Whether a label is a number, or the `nan` that stands for a missing one: it is no name of a class."""
    try:
        float(text)
    except ValueError:
        return False
    return True
