"""The folder of a reproduction: its identity, figures that are measured once, and locks that end with their process."""

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from advkit._version import __version__
from advkit.core.errors import InputError
from advkit.core.files import atomic_write, locked, make_folder
from advkit.core.occupants import REPRODUCE, check_vacant
from advkit.evaluation.runs.digests import of_file, of_record
from advkit.reproduction.study import Cell, Measured

IDENTITY = "study.json"
FOLDERS = ("networks", "figures", "locks")


class Figures(NamedTuple):
    """The figures that one measurement kept."""

    cells: dict[Cell, Measured]
    seconds: float
    seal: str


class Home:
    """The folder of one study at one budget.

    Args:
        path: the folder, which is created if it is missing.
        name: name of the study.
        budget: name of its budget.
        device: device of the run.
        settings: digest of the study's settings.

    Raises:
        InputError: the folder holds another study, budget, version or settings, or what another command wrote, or it
            cannot be made.
    """

    def __init__(self, path: Path, name: str, budget: str, device: str, settings: str) -> None:
        self.path = path
        self.identity = {
            "study": name, "budget": budget, "device": device, "advkit": __version__, "torch": torch.__version__,
            "python": platform.python_version(), "settings": settings,
        }  # fmt: skip
        check_vacant(path, REPRODUCE, ("reproduction.json", "report.html", "networks", "figures"))
        for folder in FOLDERS:
            make_folder(path / folder)
        self._check_identity()

    def _check_identity(self) -> None:
        """Raise InputError if the folder holds work of another study, other settings or other versions.

        A folder without work, as a killed process leaves it, is taken over.
        """
        file = self.path / IDENTITY
        there, begun = read_json(file), any(any((self.path / part).iterdir()) for part in ("figures", "networks"))
        if there is None and begun:
            raise InputError(f"{file} is missing or broken, so its figures cannot be used: give another folder")
        if there is None or not begun:
            atomic_write(file, lambda out: out.write(json.dumps(self.identity, indent=1).encode() + b"\n"))
            return
        changed = [key for key, value in self.identity.items() if there.get(key) != value]
        if changed:
            said = ", ".join(
                "other settings, data or networks" if key == "settings" else f"{key} {there.get(key)!r} (now {now!r})"
                for key, now in self.identity.items()
                if key in changed
            )
            raise InputError(f"{self.path} holds a reproduction with {said}: give another folder")

    def network(self, name: str, seed: int) -> Path:
        """Return the folder of a trained network."""
        return self.path / "networks" / f"{slug(name)}-seed{seed}"

    def figures(self, name: str) -> Path:
        """Return the file of a measurement."""
        return self.path / "figures" / f"{slug(name)}.json"

    def read(self, name: str) -> Figures | None:
        """Return what a measurement kept; None if the file is missing, incomplete or belongs to something else."""
        found = read_json(self.figures(name))
        if found is None or found.get("digest") != of_record(found):
            return None
        if found.get("name") != name or found.get("settings") != self.identity["settings"]:
            return None
        cells = {
            Cell(f["table"], f["row"], f["column"]): Measured(_number(f["value"]), [_number(v) for v in f["samples"]])
            for f in found["figures"]
        }
        return Figures(cells, found["seconds"], found["seal"])

    def write(self, name: str, cells: Mapping[Cell, Measured], seconds: float, seal: str = "") -> None:
        """Write what was measured, and the digest of a file that belongs to it."""
        figures = [
            {**cell._asdict(), "value": _said(m.value), "samples": [_said(v) for v in m.samples]}
            for cell, m in cells.items()
        ]
        record = {
            "name": name,
            "settings": self.identity["settings"],
            "seconds": round(seconds, 3),
            "seal": seal,
            "figures": figures,
        }
        record["digest"] = of_record(record)
        atomic_write(self.figures(name), lambda file: file.write(json.dumps(record).encode() + b"\n"))

    @contextmanager
    def locked(self, name: str) -> Iterator[bool]:
        """Try to lock `name`, and yield whether this process has the lock; a lock ends with its process."""
        place = self.path / "locks" / slug(name)
        place.touch()
        with locked(place) as mine:
            yield mine


def took_locks(path: Path) -> bool:
    """Remove the locks in this folder; False if another process has one.

    Args:
        path: the folder of the locks.
    """
    places = list(path.iterdir()) if path.is_dir() else []
    with ExitStack() as held:
        if not all(held.enter_context(locked(place)) for place in places):
            return False
        for place in places:
            place.unlink()
    return True


def slug(name: str) -> str:
    """Return a file name for any name: its letters and digits, and a few digits of its hash, which keep names apart."""
    words = "-".join(re.findall(r"[A-Za-z0-9.]+", name))[:60]
    return f"{words}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if there is no file or it is incomplete."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def seal_of(path: Path) -> str:
    """Return the digest of a file; empty if there is no file."""
    return of_file(path) if path.is_file() else ""


def _said(value: float) -> float | str:
    """Return a number as JSON takes it, with infinity and NaN as words."""
    return value if abs(value) < float("inf") else str(value)


def _number(value: float | str) -> float:
    return float(value)
