"""`load_data`: open a data set by its name."""

import inspect
import os
from functools import partial
from typing import Any

from advkit.core.errors import InputError, unknown
from advkit.core.registry import Spec, parse_spec
from advkit.data._dataset import DATASETS, Dataset
from advkit.data._selection import selected


def list_datasets(pattern: str = "*") -> list[str]:
    """Return the registered names that match a shell pattern; `load_data` takes the forms in `FORMS` too.

    Args:
        pattern: shell pattern such as "cifar*"; default: all names.
    """
    return [name for name in DATASETS.names(pattern) if name not in _GIVEN]


def load_data(
    name: str | os.PathLike[str],
    *,
    split: str = "test",
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    **options: Any,
) -> Dataset:
    """Load one split of a data set.

    Args:
        name: one of `list_datasets()`; with options as in `norb(view=left)`; with a variant as in
            `distorted_mnist:RTS`; `folder:PATH` (one folder a class: see FolderDataset); `FILE.npz` (arrays x and y);
            `FILE.csv` (file names and labels); the path of such a file or folder, also as an object; or
            `package.module:function`, which returns data and whose code is run. A folder called like a registered set
            needs `folder:`. Each may have options in brackets behind it, as in `FILE.npz(half=1)`.
            Any set takes `half=1` or `half=2` and `classes="3,7"`, as in `mnist(half=1)`: see `selected`.
        split: "train" or "test"; some sets have others.
        root: folder of the data sets; default: $ADVKIT_DATA, or else the user's cache.
        download: True allows a download if the set is missing. Nothing is downloaded otherwise.
        options: further options of the set, such as `size=` and `grey=` of a folder; they override those in the name.

    Raises:
        InputError: the name, the split or an option is unknown, or the set is missing; the message then gives the
            command that downloads it.
    """
    name = _named(name)
    asked: dict[str, Any] = {"split": split, "root": root, "download": download, **options}
    spec = _spec(name)
    for option in spec.options.keys() & asked.keys() - options.keys():
        raise InputError(f"expected {option} as an argument of its own, got it in the name {name!r}")
    whole = {**spec.options, **asked}
    own = inspect.signature(DATASETS.factory(spec.name)).parameters
    part = {option: whole.pop(option) for option in ("half", "classes") if option in whole and option not in own}
    part = {option: value.name if isinstance(value, Spec) else value for option, value in part.items()}
    data = DATASETS.create(Spec(spec.name), **whole)
    if part:
        data = selected(data, **part)
        inside = ", ".join(f"{option}={value}" for option, value in part.items())
        more = spec.name not in _GIVEN and data.name.endswith(")")
        data.name = f"{data.name[:-1]}, {inside})" if more else f"{data.name}({inside})"
    data._again = partial(_sibling, {**asked, "name": name})  # no lambda: data sets are pickled for other processes
    return data


def _named(name: Any) -> str:
    """The name of a data set; that of a path is its file, or `folder:PATH`."""
    if isinstance(name, os.PathLike):
        path = os.fsdecode(name)
        return f"folder:{path}" if os.path.isdir(path) else path
    if not isinstance(name, str):
        raise InputError(f"expected a data set by name, such as 'mnist5k', got {type(name).__name__}")
    return name


def _sibling(asked: dict[str, Any], split: str) -> Dataset:
    return load_data(**{**asked, "split": split})


FORMS = ("folder:PATH", "FILE.npz", "FILE.csv", "package.module:function")
"""What `load_data` takes beside names; a folder may come without "folder:"."""

_GIVEN = {"folder": "path", "npz": "path", "csv": "path", "factory": "place"}
"""Registered names of these forms, and the option that takes the text."""


def matching(pattern: str) -> list[str]:
    """Return the data sets that a text stands for: one of any form that `load_data` takes, or all that match.

    Args:
        pattern: name or spec of a data set, as for `load_data`, or a shell pattern of registered names.

    Returns:
        The text itself where it names one data set, whether or not it is on the disk; else the registered names.

    Raises:
        InputError: there is no such name or file, or the text is no spec.
    """
    names = [] if registered(pattern) in DATASETS.names() else list_datasets(pattern)
    if not names:
        check_named(pattern)
    return names or [pattern]


def check_named(name: str) -> None:
    """Check that a text names a data set, without opening it.

    Args:
        name: name or spec of a data set, as for `load_data`.

    Raises:
        InputError: there is no such data set, or the text is no spec.
    """
    _spec(name)


def of_your_own(name: str) -> bool:
    """Return whether a text names a folder, a file or a function of the caller's, and no registered data set.

    Args:
        name: name or spec of a data set, as for `load_data`.
    """
    return registered(name) in _GIVEN


def registered(name: str) -> str:
    """Strip the options from a name: "norb(view=left)" -> "norb", "folder:PATH" -> "folder".

    Args:
        name: name or spec of a data set, as for `load_data`.
    """
    return form(name)[0]


def form(name: str) -> tuple[str, str]:
    """Return the registered name, and the text behind it: a path without options, a place, a variant, or options."""
    path = _path_and_options(name)[0]
    if path.startswith("folder:"):
        return "folder", path.removeprefix("folder:")
    if path not in list_datasets() and os.path.isdir(os.path.expanduser(path)):
        return "folder", path
    for suffix in ("npz", "csv"):
        if path.lower().endswith(f".{suffix}"):
            return suffix, path.removeprefix(f"{suffix}:")
    head, colon, tail = name.partition(":")
    if colon and "(" not in head and head not in DATASETS.names():
        return "factory", name
    if "(" in name:
        return name.partition("(")[0].strip(), name
    return head, tail


def _path_and_options(name: str) -> tuple[str, str]:
    """A path, and the options in brackets behind it; brackets may be part of the path of a file that exists."""
    if not name.endswith(")") or os.path.exists(os.path.expanduser(name.removeprefix("folder:"))):
        return name, ""
    path, _, inside = name[:-1].rpartition("(")
    return path.rstrip(), inside


def _spec(name: str) -> Spec:
    """The registered name and the options that a user's name stands for."""
    kind, text = form(name)
    if kind == "factory":
        place, bracket, inside = text.partition("(")
        options = parse_spec(f"factory({inside}").options if bracket else {}
        return Spec(kind, {"place": place.strip(), **options})
    if kind in _GIVEN and text:
        inside = _path_and_options(name)[1]
        options = parse_spec(f"{kind}({inside})").options if inside else {}
        if _GIVEN[kind] in options:
            raise InputError(f"expected {_GIVEN[kind]} in front of the brackets, got it twice in {name!r}")
        return Spec(kind, {_GIVEN[kind]: text, **options})
    spec = DATASETS.read(name) if "(" in name else Spec(kind, {"variant": text} if ":" in name else {})
    if spec.name not in list_datasets():
        if os.path.isfile(name):
            raise InputError(
                f"{name} is a file of another kind: expected FILE.npz with x and y, a table FILE.csv, folder:PATH, or "
                "package.module:function, which reads your file and returns (x, y)"
            )
        if os.sep in spec.name:
            raise InputError(f"expected a data set, got {name!r}: there is no such file or folder")
        raise unknown("data set", spec.name, [*list_datasets(), *FORMS])
    if ":" in name and "(" not in name and "variant" not in inspect.signature(DATASETS.factory(spec.name)).parameters:
        raise InputError(
            f"{spec.name} has no variants, got {text!r}; a split is an argument of its own, split={text!r}"
        )
    return spec
