"""Your own data: an archive of arrays, a table of files, or a function that returns a data set."""

import codecs
import csv
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advkit.core.door import check_dense, rows_advice
from advkit.core.errors import InputError, unknown
from advkit.core.files import check_readable, refuse_bomb, user_path
from advkit.core.imported import call, find, parameters_of, staying
from advkit.core.words import harmless
from advkit.data._dataset import DATASETS, Dataset, MemoryDataset
from advkit.data._images import ImageFiles
from advkit.data.folder import SPLITS

Root = str | os.PathLike[str] | None

PAIRS = (("x", "y"), ("images", "labels"), ("data", "labels"), ("data", "targets"), ("arr_0", "arr_1"))
"""Names under which archives keep images and labels, capital or not; those with the name of the split come first."""

FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "name")
LABEL_COLUMNS = ("label", "class", "target", "y", "category")

MOST_CHANNELS = 4
"""Channels that the last axis of images may be taken for, where the second axis has more."""

MOST = 4 << 30  # bytes of images that a factory's data set may hold in memory


@DATASETS.register("npz")
def npz(*, path: str | os.PathLike[str], split: str = "test", root: Root = None, download: bool = False) -> Dataset:
    """The arrays x and y in a file of NumPy.

    Args:
        path: path of FILE.npz with `x` (N, H, W), (N, C, H, W) or (N, H, W, C), uint8 or floats in [0, 1], and `y` (N,)
            integers. `X` and `y`, `images` and `labels`, `arr_0` and `arr_1` are understood too, and each with the
            split: `x_test` and `y_test`, `test_images` and `test_labels`.
        split: "test", or another split after which arrays are named, such as `x_train` or `train_images`.
        root, download: ignored; every data set takes them.

    Raises:
        InputError: there is no such file or no such arrays, or shapes, types or ranges do not fit.
    """
    file = user_path(path)
    with _archive(file) as archive:
        x_name, y_name = _pair_of_names(archive.files, split, file)
        x, y = archive[x_name], archive[y_name]
    return in_memory(str(path), split, _images(x, file), _labels(y, file))


def npz_splits(path: str | os.PathLike[str]) -> list[str]:
    """Return the splits whose arrays a file of NumPy holds; ["test"] if it holds none of any.

    Raises:
        InputError: the file cannot be read.
    """
    with _archive(user_path(path)) as archive:
        return _splits_of(archive.files) or ["test"]


@contextmanager
def _archive(file: Path) -> Iterator[Any]:
    """The open file of NumPy; inside, all that a broken one raises is one line."""
    check_readable(file)
    refuse_bomb(file)
    if file.is_file() and not zipfile.is_zipfile(file):
        with file.open("rb") as content:
            cut = content.read(2) == b"PK"
        other = f"it is no archive, as np.savez({file.name!r}, x=x, y=y) writes"
        fault = "its end is missing; copy or write it again" if cut else other
        raise InputError(f"cannot read {file} as arrays x and y: {fault}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            yield archive
    except InputError:
        raise
    except Exception as error:  # a broken archive raises nearly anything
        advice = "; save numbers, such as y.astype(int)" if "Object arrays" in str(error) else ""
        raise InputError(f"cannot read {file} as arrays x and y: {' '.join(str(error).split())}{advice}") from error


def _pair_of_names(names: Sequence[str], split: str, file: Path) -> tuple[str, str]:
    """The names of the split's images and labels, as the archive writes them."""
    written = {name.lower(): name for name in names}
    for x, y in _pairs(split.lower()):
        if x in written and y in written:
            return written[x], written[y]
    or_plain = ", or x and y," if split == "test" else ""
    there = _splits_of(names)
    advice = f"; its splits are {', '.join(there)}" if there else ""
    raise InputError(
        f"expected arrays x_{split} and y_{split}{or_plain} in {file} for the split {split!r}, "
        f"got {', '.join(names) or 'none'}{advice}"
    )


def _pairs(split: str) -> list[tuple[str, str]]:
    """What images and labels of a split may be called, in lower case; the first that is there counts."""
    by_split = [pair for x, y in PAIRS for pair in ((f"{x}_{split}", f"{y}_{split}"), (f"{split}_{x}", f"{split}_{y}"))]
    return [*by_split, *(PAIRS if split == "test" else ())]


def _splits_of(names: Sequence[str]) -> list[str]:
    """The splits of which there are images and labels, those with a usual name first."""
    written = {name.lower() for name in names}
    affixes = [(name.removeprefix(f"{x}_"), name.removesuffix(f"_{x}")) for name in written for x, _ in PAIRS]
    parts = {"test", *chain.from_iterable(affixes)}
    return _in_order({part for part in parts if any(x in written and y in written for x, y in _pairs(part))})


def _in_order(splits: set[str]) -> list[str]:
    return [split for split in SPLITS if split in splits] + sorted(splits - {*SPLITS})


def _images(x: Any, source: object) -> Tensor:
    """(N, C, H, W) of an array with or without channels, which may be the last axis."""
    if x.dtype.kind not in "uf" or (x.dtype.kind == "u" and x.dtype != np.uint8):
        raise InputError(f"expected images in {source} as uint8 or as floats in [0, 1], got {x.dtype}")
    if x.shape[:1] == (0,):
        raise InputError(f"expected images in {source}, got none: {x.shape}")
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or 0 in x.shape:
        advice = "; rows of pixels become images by x.reshape(-1, C, H, W)" if x.ndim == 2 else ""
        raise InputError(f"expected images (N, C, H, W) in {source}, got {x.shape}{advice}")
    if x.shape[-1] <= MOST_CHANNELS < x.shape[1]:
        x = x.transpose(0, 3, 1, 2)
    return dense(x)


def _labels(y: Any, source: object) -> Tensor:
    """(N,) int64 of an array of integers."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise InputError(f"expected labels (N,) as integers in {source}, got {y.dtype} {y.shape}{_advice(y)}")
    if y.size and y.max() > np.iinfo(np.int64).max:
        raise InputError(f"expected class numbers up to 1000000 in {source}, got {y.max()}")
    return torch.from_numpy(y.astype(np.int64))


def _advice(y: np.ndarray) -> str:
    """What makes labels of such numbers or texts; empty where nothing is known."""
    if y.dtype.kind not in "biuf":
        return "; np.unique(y, return_inverse=True)[1] numbers the names" if y.dtype.kind == "U" else ""
    if y.ndim == 1:
        whole = y.dtype.kind != "f" or bool((y == np.floor(y)).all())
        return "; use y.astype(int) if they are class numbers" if whole else "; numbers with a fraction are no classes"
    return rows_advice(dense(y))


def in_memory(name: str, split: str, images: Tensor, labels: Tensor) -> MemoryDataset:
    """Make a data set from tensors; its classes have numbers and no names."""
    most = int(labels.max()) if labels.numel() else 0
    if most > 1_000_000:
        raise InputError(f"expected class numbers up to 1000000 in {name}, got {most}")
    return MemoryDataset(name, split, [str(number) for number in range(most + 1)], images, labels)


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
    return _in_order(found) or ["test"]


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


@DATASETS.register("factory")
def factory(*, place: str, split: str = "test", root: Root = None, download: bool = False, **options: Any) -> Dataset:
    """What your own function returns; its code is run.

    Args:
        place: "package.module:function"; a module in the current folder is found too. The function returns a data set
            of advkit, a pair (x, y) of tensors or arrays, a DataLoader, or any data set of (image, label). All but
            the first are read into memory.
        split, root, download: arguments that are handed on if the function takes them.
        **options: options that are handed on to the function.

    Raises:
        InputError: there is no such function, it does not take an option, or it returns data of another form.
    """
    module, _, attribute = place.partition(":")
    made = call(place, find(place, module, attribute, "data set"), options, split=split, root=root, download=download)
    if isinstance(made, Dataset):
        return made
    if is_pair(made):
        return from_pair(made, place, split)
    if isinstance(made, Iterable) or (hasattr(made, "__getitem__") and hasattr(made, "__len__")):
        return _read_through(place, split, made)
    raise InputError(f"expected {place} to return a data set or a pair (x, y), got {type(made).__name__}")


def factory_splits(place: str) -> list[str]:
    """Return "test", and "train" where the function takes a split; which it has is known only when it is called.

    Args:
        place: "package.module:function".

    Raises:
        InputError: there is no such function.
    """
    module, _, attribute = place.partition(":")
    return ["test", "train"] if "split" in parameters_of(find(place, module, attribute, "data set")) else ["test"]


def is_pair(data: Any) -> bool:
    """Whether these are two arrays or tensors, or lists in their place."""
    arrays = isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(part, "shape") for part in data)
    return arrays or is_two_lists(data)


def from_pair(data: Sequence[Any], name: str, split: str) -> MemoryDataset:
    """The data set of a pair (x, y) of tensors, arrays or lists.

    Raises:
        InputError: shapes, types or ranges that do not fit.
    """
    data = pair(data) if is_two_lists(data) else data
    x, y = (dense(part if isinstance(part, Tensor) else np.asarray(part)).detach().cpu().numpy() for part in data)
    return in_memory(name, split, _images(x, name), _labels(y, name))


def _read_through(place: str, split: str, made: Any) -> Dataset:
    """All that a loader or a data set gives, in memory."""
    items = _items(place, made)
    images, labels, held = list[Tensor](), list[Tensor](), 0
    for item in items:
        x, y = pair(item)
        x, y = (x[None], y.reshape(1)) if x.ndim == 3 and y.numel() == 1 else (x, y)
        images.append(x)
        labels.append(y)
        held += x.numel() * x.element_size()
        if held > MOST:
            raise InputError(f"{place} gives more than {MOST >> 30} GB of images: return a data set that ends sooner")
    if not images:
        raise InputError(f"expected at least one image from {place}, got none")
    try:
        x, y = torch.cat(images), torch.cat(labels)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"expected images of one size from {place}: {str(error).splitlines()[0]}") from error
    return in_memory(place, split, _images(x.numpy(), place), _labels(y.numpy(), place))


def _items(place: str, made: Any) -> Iterator[Any]:
    """What a data set or a loader of the caller's gives, one after the other."""
    with staying(place):
        sized = hasattr(made, "__getitem__") and hasattr(made, "__len__")
        yield from (made[i] for i in range(len(made))) if sized else made


IMAGE_KEYS = ("image", "images", "x", "img", "pixel_values", "input", "inputs", "data", "jpg", "png", "jpeg")
LABEL_KEYS = ("label", "labels", "y", "target", "targets", "class", "cls")


def pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Return images and labels of a batch or an item, which is a pair, a longer tuple that begins with both, or a dict.

    Raises:
        InputError: the item is none of these, or a label is no integer.
    """
    found: Sequence[Any] = batch if isinstance(batch, tuple | list) else ()
    if isinstance(batch, Mapping):
        keys = [next((key for key in names if key in batch), None) for names in (IMAGE_KEYS, LABEL_KEYS)]
        if None in keys:
            raise InputError(
                "expected 'image' and 'label' (or 'x' and 'y') among the keys of a batch, "
                f"got {', '.join(map(str, batch))}"
            )
        found = [batch[key] for key in keys]
    if len(found) >= 2 and _is_row(found[0], found[1]):
        found = [_stacked(found[0]), found[1]]
    elif is_two_lists(found) and isinstance(found[0], tuple | list):
        found = [_filled(found[0]), found[1]]
    if len(found) < 2 or not isinstance(found[0], Tensor | np.ndarray):
        parts = f" of {', '.join(type(part).__name__ for part in found)}" if found else ""
        advice = (
            "; torchvision's ToTensor() makes tensors of pictures" if hasattr(next(iter(found), 0), "getbands") else ""
        )
        raise InputError(f"expected (images, labels) as two tensors, got {type(batch).__name__}{parts}{advice}")
    return dense(found[0]), label(found[1])


def _is_row(images: Any, labels: Any) -> bool:
    """Whether these are a list of single images (C, H, W) and as many labels, as a `collate_fn` may leave them."""
    if not isinstance(images, tuple | list) or not images:
        return False
    single = all(isinstance(image, Tensor | np.ndarray) and image.ndim == 3 for image in images)
    return single and hasattr(labels, "__len__") and len(labels) == len(images)


def is_two_lists(data: Any) -> bool:
    """Whether these are a pair whose labels are a plain list of numbers, and no list of two items or batches."""
    if not isinstance(data, tuple | list) or len(data) != 2 or not isinstance(data[1], tuple | list) or not data[1]:
        return False
    if not all(isinstance(one, int | float | np.number | str) for one in data[1]):
        return False
    if isinstance(data[0], Tensor | np.ndarray) or _is_row(*data):
        return True
    first = data[0]
    while isinstance(first, tuple | list) and first:
        first = first[0]
    return isinstance(first, int | float | np.number)


def _filled(images: Sequence[Any]) -> Tensor:
    """The tensor of nested lists of numbers."""
    try:
        return torch.tensor(images, device="cpu")
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise InputError(f"expected images of one size, as lists of numbers: {str(error).splitlines()[0]}") from error


def _stacked(images: Sequence[Any]) -> Tensor:
    try:
        return torch.stack([dense(image) for image in images])
    except (RuntimeError, TypeError) as error:
        raise InputError(f"expected images of one size in a batch: {str(error).splitlines()[0]}") from error


def dense(value: Tensor | np.ndarray) -> Tensor:
    """The tensor of an array, whatever its byte order, strides and permissions; a tensor itself.

    Raises:
        InputError: the array holds objects or texts, or the tensor does not hold all its values.
    """
    if isinstance(value, Tensor):
        check_dense(value)
        return value
    if value.dtype.kind not in "biufc":
        raise InputError(f"expected an array of numbers, got one of {value.dtype}")
    known = np.float64 if value.dtype == np.longdouble else value.dtype.newbyteorder("=")
    plain = np.ascontiguousarray(value, dtype=known).reshape(value.shape)  # which makes a row of a single number
    return torch.from_numpy(plain if plain.flags.writeable else plain.copy())


def label(value: Any) -> Tensor:
    """Convert labels to a tensor; labels that are no tensor must be integers, not bools, fractions or texts.

    Raises:
        InputError: the labels are something else.
    """
    if isinstance(value, Tensor):
        return dense(value)
    if isinstance(value, tuple | list) and value:
        rows = [label(one) for one in value]
        if all(row.ndim == 0 for row in rows):
            return torch.stack(rows)
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole and not (isinstance(value, np.ndarray) and value.dtype.kind in "iu"):
        raise InputError(f"expected labels as integers, got {value!r}")
    return dense(value) if isinstance(value, np.ndarray) else torch.as_tensor(value)
