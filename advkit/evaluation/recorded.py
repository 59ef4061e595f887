"""An evaluation that is a run: its batches are shared out, committed one by one, and put together at the end."""

import datetime
import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.evaluation.measure.checks import Checks
from advkit.evaluation.measure.corruptions import CorruptionReport
from advkit.evaluation.measure.fit import fitted
from advkit.evaluation.measure.plan import Plan, assembled
from advkit.evaluation.measure.report import Report
from advkit.evaluation.measure.stream import batches, numbered, origin
from advkit.evaluation.measure.ticker import Ticker
from advkit.evaluation.runs.identity import command_line, configuration, environment
from advkit.evaluation.runs.png import write_pngs
from advkit.evaluation.runs.ranks import place, wait_for_all
from advkit.evaluation.runs.run_folder import CORRUPTIONS, Begun, Run, begin, check_place, earlier, sweep
from advkit.evaluation.show.page import page


@dataclass(frozen=True)
class Job:
    """What `evaluate` was asked for, checked."""

    model: Model
    data: Any
    plan: Plan
    tick: Ticker
    batch_size: int
    count: int | None
    images: bool
    png: bool
    look: Callable[[], Checks | None]
    spoil: Callable[[], CorruptionReport] | None

    @property
    def parts(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "count": self.count}


def run(job: Job, output: str | os.PathLike[str], *, resume: bool) -> Report:
    """Do what of the run is not done yet; its report."""
    home = Path(output)
    check_place(home, resume=resume)
    old = earlier(home)
    with _threads(old["environment"]["threads"] if old else None):
        made = _begin(job, home)
        if not made.complete:
            _work(job, made)
            wait_for_all()
        report = assembled(job.plan, origin(job.data), made)
        if place().first:
            _finish(job, made, report)
        wait_for_all()
    return _told(report, Run(home, earlier(home) or {}))


def _begin(job: Job, home: Path) -> Run:
    """The folder, made by the first process and checked by all."""
    first = fitted(next(batches(job.data, **job.parts)), job.model, job.plan.options["bounds"])
    config = configuration(job.model, job.data, job.plan, first, **job.parts, images=job.images, png=job.png)
    if job.png and (first.x.ndim != 4 or first.x.shape[1] not in (1, 3)):
        raise InputError(f"expected images (N, C, H, W) of 1 or 3 channels for PNG, got {tuple(first.x.shape)}")
    begun = Begun(config, environment(job.model, first))
    wait_for_all()
    if place().first:
        sweep(begin(home, begun, **_about(job)))
    wait_for_all()
    return begin(home, begun)


def _about(job: Job) -> dict[str, Any]:
    """What run.json says beside configuration and environment."""
    card, classes = getattr(job.model, "card", None), getattr(job.data, "classes", None)
    return {
        "command": shlex.join(command_line()),
        "started": _now(),
        "card": None if card is None else {"describe": card.describe(), "source": card.source},
        "classes": [str(name) for name in classes] if isinstance(classes, list | tuple) else None,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _work(job: Job, made: Run) -> None:
    """Measure and commit the batches that are this process's and not there yet."""
    mine = place()
    for number, size, batch in numbered(
        job.data, **job.parts, wanted=lambda number: mine.takes(number) and not made.has(number)
    ):
        if batch is None:
            job.tick(size * job.plan.passes)
            continue
        batch = fitted(batch, job.model, job.plan.options["bounds"])
        columns, images = job.plan.measure(job.model, batch, job.tick)
        if job.png:
            write_pngs(made, batch, columns, images, job.plan)
        made.commit(number, batch, columns, images if job.images else [])


def _told(report: Report, made: Run) -> Report:
    """The report with the checks and the corruptions that the folder has."""
    found = made.record["checks"]
    return replace(report, checks=found and Checks.from_dict(found), corruptions=made.corruptions)


def _finish(job: Job, made: Run, report: Report) -> None:
    """What is not there yet of corruptions, rows, figures and page; run.json says last that the run is complete."""
    spoilt = job.spoil is not None and made.corruptions is None
    if job.spoil is not None and spoilt:
        text = json.dumps(job.spoil().to_dict(), indent=1)
        made.write(CORRUPTIONS, lambda file: file.write(text.encode()))
    if made.complete and not spoilt:
        return
    if not made.complete:
        made.write_rows()
        figures, checks = report.to_dict(), job.look()
        del figures["checks"], figures["corruptions"]
        made.record.update(finished=_now(), figures=figures, checks=checks and checks.to_dict())
    shown = page(made, _told(report, made))
    made.write("report.html", lambda file: file.write(shown.encode()))
    made.save(status="complete")


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """So many CPU threads inside the block; None: as many as there are now."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
