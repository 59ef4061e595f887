"""What is in a folder, so that no command writes over the work of another."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from advkit.core.errors import InputError

EVALUATE, TRAIN, REPRODUCE = "advkit evaluate", "advkit train", "advkit reproduce"


def command_of(record: Any) -> str | None:
    """Return the command whose run.json says this; None if it is of no command that is known.

    Args:
        record: the content of the file.
    """
    if not isinstance(record, dict):
        return None
    return EVALUATE if {"format", "config"} <= record.keys() else TRAIN if "recipe" in record else None


def occupant(home: Path) -> str | None:
    """Return the command whose run the folder holds; None if it holds none that is known.

    Args:
        home: the folder, which may be missing.
    """
    if (home / "study.json").exists():
        return REPRODUCE
    try:
        return command_of(json.loads((home / "run.json").read_text("utf-8")))
    except (OSError, ValueError, RecursionError):
        return None


def check_vacant(home: Path, own: str, written: Iterable[str]) -> None:
    """Check that a run in this folder writes over nothing but a run of the same command.

    Args:
        home: the folder, which may be missing.
        own: the command that is about to run there.
        written: names of the files and folders that it writes.

    Raises:
        InputError: the folder holds a run of another command, or files of these names and no run.
    """
    there = occupant(home)
    if there not in (None, own):
        raise InputError(f"{home} holds a run of {there}: give another folder")
    if there is None and (taken := [path for name in written if _holds(path := home / name)]):
        raise InputError(f"{taken[0]} is there already, and is of no run of {own}: give another folder")


def _holds(path: Path) -> bool:
    """Whether there is a file, or a folder that is not empty."""
    return any(path.iterdir()) if path.is_dir() else path.exists()
