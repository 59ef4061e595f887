"""An evaluation with a run folder: batches are distributed, committed one by one, and assembled at the end."""

import datetime
import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from advkit.core.errors import InputError, warn
from advkit.core.files import alone, make_folder, nothing_left, user_path
from advkit.core.guard import Model
from advkit.data._stream import Batch, batches, image_files, numbered, origin
from advkit.evaluation.measure.checks import Checks
from advkit.evaluation.measure.corruptions import CorruptionReport
from advkit.evaluation.measure.fit import fitted
from advkit.evaluation.measure.plan import Plan
from advkit.evaluation.measure.report import Report
from advkit.evaluation.measure.setting import setting_of
from advkit.evaluation.measure.ticker import Ticker
from advkit.evaluation.runs.begin_run import Begun, begin, check_place, sweep, vacate
from advkit.evaluation.runs.digests import of_data
from advkit.evaluation.runs.identity import command_line, configuration, environment, forgiven
from advkit.evaluation.runs.keep import Keep
from advkit.evaluation.runs.png import write_pngs
from advkit.evaluation.runs.ranks import Claims, Shard, parse_shard, place, wait_for_all
from advkit.evaluation.runs.run_folder import CORRUPTIONS, EXAMPLES, Run
from advkit.evaluation.runs.run_json import earlier
from advkit.evaluation.show.page import page


@dataclass(frozen=True)
class Job:
    """The checked arguments of `evaluate`."""

    model: Model
    data: Any
    plan: Plan
    tick: Ticker
    batch_size: int
    count: int | None
    keep: Keep
    look: Callable[[Report], Checks | None]
    spoil: Callable[[], CorruptionReport] | None

    @property
    def parts(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "count": self.count}


def run(job: Job, output: str | os.PathLike[str], *, resume: bool) -> Report:
    """Do the remaining part of the run, and return its report."""
    home = user_path(output)
    check_place(home, resume=resume)
    old = earlier(home) if resume else None
    with _threads(old["environment"]["threads"] if old else None):
        begun = _begun(job, old)
        with _entered(home) if place().first else nullcontext():
            if place().first and not resume:
                vacate(home)
            made = _begin(job, home, begun)
            if place().first:
                sweep(made)
                Claims(home).clear()
            wait_for_all()
            _work(job, made)
            wait_for_all()
            if place().first:
                Claims(home).clear()
                _finish(job, made)
            wait_for_all()
    return Run(home, earlier(home) or {}).report


@contextmanager
def _entered(home: Path) -> Iterator[None]:
    """Inside, this process alone works in the folder; wrong input before the first batch leaves no new folder."""
    with nothing_left(home, ("run.json", "batches")) if place().world == 1 else nullcontext():
        make_folder(home)
        with alone(home):
            yield


def _begun(job: Job, old: dict[str, Any] | None) -> Begun:
    """What the run is begun with, looked at before there is a folder; `old` is the record that it continues."""
    _check_shard(job)
    raw = next(batches(job.data, **job.parts))
    first = fitted(raw, job.model, job.plan.options["bounds"], labelled=job.plan.judge.labelled)
    config = configuration(job.model, job.data, job.plan, first, **job.parts, **job.keep.config)
    if old is not None:
        config = forgiven(job.model, first.x, old["config"], config)
    if job.keep.png and (first.x.ndim != 4 or first.x.shape[1] not in (1, 3)):
        raise InputError(f"expected images (N, C, H, W) of 1 or 3 channels for PNG, got {tuple(first.x.shape)}")
    return Begun(config, environment(job.model, first))


def _check_shard(job: Job) -> None:
    """Raise InputError if the data have no batch for the shard; a loader says it at its end alone."""
    shard = parse_shard(job.keep.shard)
    if shard.jobs > 1 and not isinstance(job.data, DataLoader):
        numbers = [number for number, *_ in numbered(job.data, **job.parts, wanted=lambda _: False)]
        _mine(shard, numbers)


def _mine(shard: Shard, numbers: list[int]) -> list[int]:
    """The batches of this shard.

    Raises:
        InputError: there is none.
    """
    mine = [number for number in numbers if shard.takes(number)]
    if not mine:
        raise InputError(f"expected a batch for shard {shard}, got data of {len(numbers)} batches: use fewer shards")
    return mine


def _begin(job: Job, home: Path, begun: Begun) -> Run:
    """The run in the folder, begun by the first process and checked by all."""
    wait_for_all()
    if place().first:
        begin(home, begun, **_about(job))
    wait_for_all()
    return begin(home, begun if place().first else _with_the_code_of_the_first(home, begun))


def _with_the_code_of_the_first(home: Path, begun: Begun) -> Begun:
    """Code that names the number of its process differs between processes; the first one's was compared."""
    model, first = begun.config["model"], (earlier(home) or {})["config"]["model"]
    code = first.get("code", model["code"])  # runs of before have none
    return begun._replace(config={**begun.config, "model": {**model, "code": code}})


def _about(job: Job) -> dict[str, Any]:
    """What run.json says beside configuration and environment."""
    card, classes = getattr(job.model, "card", None), getattr(job.data, "classes", None)
    return {
        "command": shlex.join(command_line()),
        "started": _now(),
        "card": None if card is None else {"describe": card.describe(), "source": card.source},
        "setting": asdict(setting_of(job.model, job.data)),
        "lines": [line._asdict() for line in job.plan.lines],
        "classes": [str(name) for name in classes] if isinstance(classes, list | tuple) else None,
        "image_files": image_files(job.data),
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _work(job: Job, made: Run) -> None:
    """Measure and commit the batches that nobody has; those that are there are held against the data."""
    shard, claims = parse_shard(job.keep.shard), Claims(made.home)
    numbers = []
    for number, size, batch in numbered(job.data, **job.parts, wanted=lambda n: shard.takes(n) and claims.take(n)):
        numbers.append(number)
        if batch is None or _stands(made, number, batch):
            job.tick(size * job.plan.passes)
            continue
        own = fitted(batch, job.model, job.plan.options["bounds"], labelled=job.plan.judge.labelled)
        columns, images = job.plan.measure(job.model, own, job.tick)
        pngs = write_pngs(made, own, columns, images, job.plan) if job.keep.png else {}
        made.commit(number, batch, columns, [own.x, *images] if job.keep.images else [], pngs)
    mine = _mine(shard, numbers)
    if stray := sorted(set(made.numbers()) - set(mine)):
        files = ", ".join(f"batches/{number:06d}.safetensors" for number in stray)
        raise InputError(f"the run in {made.home} has batches that the data have not: remove {files} there")
    made.record["wanted"] = {"batches": len(numbers), "numbers": mine}


def _stands(made: Run, number: int, batch: Batch) -> bool:
    """Whether a batch is there, whole; a damaged one is named.

    Raises:
        InputError: it was measured on other images, labels or numbers than the data give now.
    """
    if not made.has(number):
        if made.complete:
            _redone(made, number, "it is missing")
        return False
    if wrong := made.damage(number):
        _redone(made, number, wrong)
        return False
    said = made.digests(number)
    for part, found in of_data(batch).items():
        if said[part] != found:
            raise InputError(
                f"cannot go on with the run in {made.home}: the {part} of batch {number} are not those that it was "
                "measured on; go on with the same data, or give another folder"
            )
    return True


def _redone(made: Run, number: int, why: str) -> None:
    warn(f"batch {number} of the run in {made.home} is done again: {why}")
    if made.complete and place().first:
        made.update(status="running")
    made.record["status"] = "running"


def _finish(job: Job, made: Run) -> None:
    """What is not there yet of corruptions, rows, figures and page; run.json says last that the run is complete."""
    spoilt = job.spoil is not None and (made.altered(CORRUPTIONS) or made.corruptions is None)
    if job.spoil is not None and spoilt:
        text = json.dumps(job.spoil().to_dict(), indent=1)
        made.write(CORRUPTIONS, lambda file: file.write(text.encode()))
    listed = {str(number): made.digests(number)["rows"] for number in made.record["wanted"]["numbers"]}
    whole = made.complete and made.record.get("batches") == listed and made.stands("samples.csv", "report.html")
    unchecked = not whole or made.record.get("checks") is None  # a run without checks may be asked for them now
    checks = job.look(job.plan.report(origin(job.data), made)) if unchecked else None
    if whole and not spoilt and checks is None:
        return
    made.record["batches"] = listed
    if not whole:
        made.record["finished"] = _now()
    if unchecked:
        made.record["checks"] = checks and checks.to_dict()
    conclude(made, rows=not whole)


def conclude(made: Run, *, rows: bool = True) -> None:
    """Write rows, figures and page from the batches, and then mark the run as complete in run.json."""
    if rows:
        made.write_rows()
    report = made.report
    figures = report.to_dict()
    del figures["checks"], figures["corruptions"]
    made.record["figures"] = figures
    shown = page(made, report)
    made.write("report.html", lambda file: file.write(shown.encode("utf-8", "replace")))
    more = [name for name in (CORRUPTIONS, EXAMPLES) if (made.home / name).is_file() and not made.altered(name)]
    made.update(status="complete", files=made.files("samples.csv", "report.html", *more))


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Sets the number of CPU threads inside the block; None keeps it."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
