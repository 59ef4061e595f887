"""run.json of a run: read, with its form checked once."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advkit.core.errors import InputError
from advkit.core.files import user_path
from advkit.core.occupants import EVALUATE, TRAIN, command_of
from advkit.evaluation.runs.digests import of_record

FORMAT, READ = 2, (1, 2)
"""The format that is written, in run.json, and those that are read: every later version reads all of them."""

Test = Callable[[Any], bool]


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _maybe(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _is(*kinds: type) -> Test:
    return lambda value: isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)


FORM: dict[str, Test] = {
    "status": lambda value: value in ("running", "complete"),
    "config": _is(dict),
    "config.model": _is(dict),
    "config.data": _is(dict),
    "config.data.name": _is(str),
    "config.attacks": _words,
    "config.certify": _maybe(_is(dict)),
    "config.control": _maybe(_is(str)),
    "config.seed": _is(int),
    "config.bounds": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is(int, float), value)),
    "config.images": _is(bool),
    "environment": _is(dict),
    "environment.threads": lambda value: _is(int)(value) and value >= 1,
}
"""Dotted name -> what it has to be."""


def earlier(home: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Read a folder's run.json; None if there is none.

    Raises:
        InputError: the folder holds no run of a known format.
    """
    home = user_path(home)
    record = read_json(home / "run.json")
    return None if record is None else _checked(record, home / "run.json")


def read_json(path: Path) -> Any:
    """Return what a JSON file says; None if there is no file.

    Args:
        path: the file.

    Raises:
        InputError: the file cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _checked(record: Any, path: Path) -> dict[str, Any]:
    """Return the record if it is unchanged and of a format that this version reads.

    Raises:
        InputError: the file is of another kind or format, or was edited.
    """
    if not isinstance(record, dict) or command_of(record) != EVALUATE:
        there = f"that of {TRAIN}" if command_of(record) == TRAIN else "something else"
        raise InputError(f"expected {path} as the record of a run of {EVALUATE}, got {there}")
    if record["format"] not in READ or isinstance(record["format"], bool):
        known = " or ".join(map(str, READ))
        raise InputError(f"expected {path} in format {known}, got {record['format']!r}: it needs another advkit")
    for name, test in FORM.items():
        value = _found(record, name)
        if not test(value):
            raise InputError(f"expected {path} as advkit wrote it: its {name} is {str(value)[:60]!r}")
    if record["format"] > 1 and record.get("digest") != of_record(record):
        raise InputError(f"expected {path} as advkit wrote it: it was edited, its digest does not fit")
    return record


def _found(record: Any, name: str) -> Any:
    for key in name.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record
