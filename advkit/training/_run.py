"""The folder of a run: its contents, and how a run is begun, saved and resumed."""

import csv
import io
import json
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from advkit._version import __version__
from advkit.core.errors import InputError
from advkit.core.files import alone, make_folder, nothing_left
from advkit.core.occupants import TRAIN, check_vacant
from advkit.core.words import cause
from advkit.data import Dataset, atomic_write
from advkit.models import Card, read_card
from advkit.training._recipe import Recipe
from advkit.training.recipes import RECIPES

CONFIG, LOG, STATE, WEIGHTS = "run.json", "log.csv", "state.pt", "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One epoch, as a line of log.csv.

    Attributes:
        epoch: number of the epoch, from 1.
        lr: the last learning rate.
        loss: mean loss over the epoch, penalties included.
        clean_error: error on the test split; None if there is none.
        validation_error: error on the images held out, clean or under the watched attack; None if there are none.
        seconds: duration of the epoch, measuring included, in all processes that resumed it.
        images_per_second: speed of training without measuring, on all processes together.
        probe_clean, probe_one_step, probe_many_steps: errors of the probe; None if there is none.
    """

    epoch: int
    lr: float
    loss: float
    clean_error: float | None
    validation_error: float | None = None
    seconds: float
    images_per_second: float | None = None
    probe_clean: float | None = None
    probe_one_step: float | None = None
    probe_many_steps: float | None = None


@dataclass(frozen=True)
class Finished:
    """A finished run with its weights."""

    weights: Path
    log: tuple[Row, ...]


@contextmanager
def occupied(home: Path) -> Iterator[None]:
    """Context manager: only this process may write in the folder; incomplete files of killed processes are removed.

    Wrong input before the first epoch is saved leaves no folder behind that was not there.

    Raises:
        InputError: another process is at work in the folder, or it is no folder.
    """
    with nothing_left(home, (CONFIG,)):
        make_folder(home)
        with alone(home):
            for name in (CONFIG, LOG, STATE, WEIGHTS):
                for left in home.glob(f".{name}.*"):
                    left.unlink(missing_ok=True)
            yield


def begin(
    home: Path | None, recipe: Recipe, data: Dataset, resume: bool, conditions: dict[str, Any]
) -> Finished | None:
    """Create the folder, or check the run in it; `conditions` (device, threads, ...) are written to run.json.

    Returns:
        The finished run in the folder, or None.

    Raises:
        InputError: there is a run, and `resume` was not asked for, its recipe or data are others, or its log is broken;
            or there is what another command wrote.
    """
    if home is None:
        if resume:
            raise InputError("expected the folder of the run to resume, got none: give output=")
        return None
    weights, config = home / WEIGHTS, {**_config(recipe, data), **conditions}
    if any((home / name).exists() for name in (STATE, WEIGHTS)):
        if not resume:
            raise InputError(
                f"{home} holds a run already: go on with it by resume=True (--resume), or give another folder"
            )
        _check_same(home, config)
        return None if (home / STATE).exists() else Finished(weights, _read_log(home / LOG))
    check_vacant(home, TRAIN, (CONFIG, LOG))
    atomic_write(home / CONFIG, lambda file: file.write(json.dumps(config, indent=2).encode() + b"\n"))
    return None


def _config(recipe: Recipe, data: Dataset) -> dict[str, Any]:
    """What run.json says; no time and no place, so that equal runs have equal files."""
    versions = {"advkit": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return {"recipe": recipe.to_dict(), "data": repr(data), "versions": versions}


def _check_same(home: Path, config: dict[str, Any]) -> None:
    """Raise unless run.json describes this run; other versions may go on with it."""
    try:
        there = json.loads((home / CONFIG).read_text())
        before, now = there["recipe"], json.loads(json.dumps(config["recipe"]))
        before = {**json.loads(json.dumps(_defaults())), **before}  # fields that are younger than the run
        differ = [name for name in now if before.get(name) != now[name]]
        if differ:
            changes = ", ".join(f"{name} was {before.get(name)!r}, now {now[name]!r}" for name in differ)
            raise InputError(f"{home} holds a run of another recipe ({changes}): give another folder, or that recipe")
        if there["data"] != config["data"]:
            raise InputError(f"{home} holds a run on {there['data']}, got {config['data']}: give another folder")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{home / CONFIG} is missing or broken, so the run cannot be resumed: give another folder"
        ) from error


def _defaults() -> dict[str, Any]:
    """The values of the fields that a recipe need not give."""
    return Recipe(model="", data="").to_dict()


def save_state(home: Path, state: dict[str, Any], log: tuple[Row, ...]) -> None:
    """Write state.pt and log.csv, each atomically.

    Raises:
        OSError: the folder was removed, or the disk is full.
    """
    if not (home / CONFIG).exists():
        raise OSError(f"the folder of the run was taken away: {home / CONFIG} is gone")
    state = {**state, "log": [asdict(row) for row in log]}
    atomic_write(home / STATE, lambda file: torch.save(state, file))
    atomic_write(home / LOG, lambda file: file.write(_csv(log)))


def read_state(home: Path) -> tuple[dict[str, Any], tuple[Row, ...]] | None:
    """Read the result of `save_state`, on the CPU; None if there is none.

    Raises:
        InputError: the file is broken.
    """
    path = home / STATE
    if not path.exists():
        return None
    with refusing(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state, tuple(Row(**row) for row in state.pop("log"))


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Context manager: any error inside becomes an InputError about the file, which may be of any kind."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"{path} is broken or belongs to another network ({cause(error)}): give another folder"
        ) from error


def _csv(log: tuple[Row, ...]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    writer.writerows(astuple(row) for row in log)
    return text.getvalue().encode()


def _read_log(path: Path) -> tuple[Row, ...]:
    """The rows of log.csv.

    Raises:
        InputError: the file is gone or broken, or has none.
    """
    with refusing(path), path.open(newline="") as file:
        log = tuple(
            Row(
                epoch=int(row["epoch"]),
                lr=float(row["lr"]),
                loss=float(row["loss"]),
                clean_error=_number(row["clean_error"]),
                validation_error=_number(row.get("validation_error")),
                seconds=float(row["seconds"]),
                images_per_second=_number(row.get("images_per_second")),
                probe_clean=_number(row.get("probe_clean")),
                probe_one_step=_number(row.get("probe_one_step")),
                probe_many_steps=_number(row.get("probe_many_steps")),
            )
            for row in csv.DictReader(file)
        )
        if not log:
            raise ValueError("no epoch in it")
    return log


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def read_finished(weights: Path) -> tuple[dict[str, Tensor], Card]:
    """Read the weights and the card in the checkpoint of a run.

    Raises:
        InputError: the file is broken or has no card.
    """
    with refusing(weights):
        state = load_file(weights)
    card = read_card(weights)
    if card is None:
        raise InputError(f"{weights} has no card, so it is not the end of a run: give another folder")
    return state, card


def label(recipe: Recipe, loss: Callable[..., Any] | None) -> str:
    """Return the recipe's text for the card: its name if it is known, else its options, and the caller's loss."""
    known = RECIPES.get(recipe.name)
    text = recipe.name if known == replace(recipe, seed=known.seed if known else 0) else str(recipe)
    return text if loss is None or recipe.defense else f"{text} with {getattr(loss, '__qualname__', repr(loss))}"
