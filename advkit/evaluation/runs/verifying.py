"""Verification of a run: every file of the folder against its digest, and the figures against the batches."""

import math
import os
from collections.abc import Iterator
from typing import Any

from advkit.core.errors import InputError
from advkit.core.files import user_path
from advkit.evaluation.runs.run_folder import Run
from advkit.evaluation.runs.run_json import earlier

Path_ = str | os.PathLike[str]


def verify_run(home: Path_) -> list[str]:
    """List the faults of a run folder, one sentence each; empty if there are none.

    Args:
        home: the folder of a run, complete or not.

    Raises:
        InputError: there is no run, or run.json was edited.
    """
    record = earlier(home)
    if record is None:
        raise InputError(f"there is no run in {home}: expected a folder that advkit evaluate --output wrote")
    return list(_wrong(Run(user_path(home), record)))


def _wrong(run: Run) -> Iterator[str]:
    if run.record["format"] == 1:
        yield "the run is of format 1, which carries no digests: damage cannot be found"
    if not run.complete:
        yield f"the run is not complete: {len(run.numbers())} batches are done"
    yield from (f"batch {number} is missing" for number in run.missing())
    bad = [(number, wrong) for number in run.numbers() if (wrong := run.damage(number))]
    yield from (f"batch {number}: {wrong}" for number, wrong in bad)
    listed = run.record.get("batches")
    if run.complete and listed is not None:
        yield from (f"batch {n} is not listed in run.json" for n in run.numbers() if str(n) not in listed)
        yield from (f"{name} is not what was written" for name in run.record["files"] if not run.stands(name))
        if not bad and not run.missing():
            yield from _figures(run)


def _figures(run: Run) -> Iterator[str]:
    """The figures that the batches do not give."""
    found = run.report.to_dict()
    for name, value in run.record["figures"].items():
        if not _same(value, found[name]):
            yield f"the figure {name} is not what the batches give"


def _same(first: Any, second: Any) -> bool:
    """Equal as JSON, up to the last digits; times, which a repeated batch changes, are not compared."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(v, second[k]) for k, v in first.items() if k != "seconds")
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-12)
    return bool(first == second)
