"""The beginning of a run: a new folder, or one that is continued under the same configuration."""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from advkit.core.errors import InputError
from advkit.core.files import make_folder, user_path
from advkit.core.occupants import EVALUATE, check_vacant
from advkit.evaluation.runs.identity import BINDING, check_same
from advkit.evaluation.runs.run_folder import Run
from advkit.evaluation.runs.run_json import FORMAT, earlier

Path_ = str | os.PathLike[str]

WRITTEN = ("samples.csv", "report.html", "corruptions.json", "examples.png", "png", "batches")
"""What a run writes beside run.json."""


class Begun(NamedTuple):
    """The options with which a run is begun or continued."""

    config: dict[str, Any]
    environment: dict[str, Any]


def check_place(home: Path_, *, resume: bool) -> None:
    """Raise InputError early if a run cannot begin.

    Raises:
        InputError: a file is in the way, or the folder holds a run that is not to be continued, or what is not of
            `evaluate`.
    """
    home = user_path(home)
    if home.exists() and not home.is_dir():
        raise InputError(f"expected a folder for the run, got the file {home}: give another path")
    begun = (home / "run.json").exists()  # if it is of no known form, `earlier` says so
    check_vacant(home, EVALUATE, () if begun else WRITTEN)
    if (record := earlier(home)) is not None and not resume and not is_empty(home, record):
        raise InputError(f"there is a run in {home} already: go on with it by --resume (resume=True), or give another")


def is_empty(home: Path, record: dict[str, Any]) -> bool:
    """Return whether a run ended before its first batch, so that another may take its place.

    Args:
        home: folder of the run.
        record: the content of its run.json.
    """
    return record["status"] == "running" and not record.get("batches") and not Run(home, record).numbers()


def vacate(home: Path) -> None:
    """Remove a run that ended before its first batch; no other process may be at work in the folder.

    Args:
        home: folder, which may hold no run.
    """
    if (record := earlier(home)) is not None and is_empty(home, record):
        shutil.rmtree(home / "png", ignore_errors=True)  # files of the batch that was not committed
        (home / "run.json").unlink()


def begin(home: Path_, begun: Begun, **more: Any) -> Run:
    """Create or continue the run in this folder.

    Raises:
        InputError: the folder holds a run with another configuration, or one from other versions or another machine.
    """
    home, record = user_path(home), earlier(home)
    if record is None:
        record = {"format": FORMAT, "status": "running", **begun._asdict(), **more}
        run = Run(home, record)
        make_folder(home / "batches")
        run.update()
        return run
    if record["format"] != FORMAT:
        raise InputError(f"the run in {home} is of format {record['format']}, which is read only: give another folder")
    run = Run(home, record)
    check_same(str(home), record["config"], begun.config)
    new = {key: begun.environment[key] for key in BINDING}
    check_same(str(home), record["environment"], new)
    return run


def sweep(run: Run) -> None:
    """Remove the temporary files of processes that were killed; no other process may be at work in the folder."""
    for left in [*run.home.glob(".*.*"), *(run.home / "batches").glob(".*.*")]:
        left.unlink(missing_ok=True)
