"""`reproduce`: a paper's tables, run again beside the printed figures."""

import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from advkit.core.devices import find_device
from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.files import atomic_write, nothing_left
from advkit.core.intervals import wilson_interval
from advkit.core.progress_bar import Progress, shows_progress
from advkit.reproduction.kept import FOLDERS, IDENTITY, Home, took_locks
from advkit.reproduction.run_again import Figure, Reproduction
from advkit.reproduction.significance import deviation, mean_interval
from advkit.reproduction.study import Cell, Measured, Pooled, declared
from advkit.reproduction.study_page import page
from advkit.reproduction.verdicts import Column, judged
from advkit.reproduction.work import Bench, do_all, measured_name, pooled_name, trained_name, work

RECORD, PAGE = "reproduction.json", "report.html"
POLL = 1.0
"""Seconds between two looks at how far the processes are."""


@shows_progress("reproduce", "parts")
def reproduce(
    name: str,
    *,
    budget: str = "small",
    seeds: int = 3,
    output: str | os.PathLike[str] | None = None,
    workers: int = 1,
    device: str = "auto",
    data: str | None = None,
    model: str | None = None,
    weights: str | None = None,
    progress: Progress | bool | None = None,
) -> Reproduction:
    """Run a paper's tables again, or go on with a run that was stopped.

    Every network and every measurement is written to the folder as soon as it is done. A second call, even at the same
    time in another process, does the remaining work. Every process uses one thread, so that the figures do not depend
    on the number of cores.

    Args:
        name: one of `list_reproductions()`.
        budget: "small" takes minutes on two cores with the embedded digits; "paper" is the paper's own size.
        seeds: number of seeds, which count from 0. A larger number continues a folder with fewer seeds.
        output: folder of the run; by default runs/reproduce/NAME-BUDGET.
        workers: number of processes. More than one are started by `spawn`, so a script needs
            `if __name__ == "__main__":`.
        device: device to train and measure on; "auto" is CUDA if there is one, else the CPU.
        data: spec of your own labelled images, such as "folder:PATH", for `imagenet_crops`, which brings none.
        model: spec of your own trained network, such as "torchvision:vgg16", for the same. For an ensemble,
            write " + " between its networks.
        weights: weights of that network: a file, or whatever `load_model` takes. For an ensemble, write " + "
            between the files.
        progress: function that is called with the numbers of finished and of all jobs; True shows a bar.

    Returns:
        The figures beside the paper's, and the verdict on each of its claims.

    Raises:
        InputError: unknown name or budget, a data set that is not there, images or a network that the study needs or
            has no use for, or a folder of another reproduction.
    """
    study = declared(name, budget, data=data, model=model, weights=weights)
    if study.needs:
        raise InputError(study.needs)
    seeds, workers = check_count("seeds", seeds), check_count("workers", workers)
    device = str(find_device(device, float64=True))
    path = Path(output).expanduser() if output is not None else Path("runs/reproduce") / f"{name}-{budget}"
    given = {"data": data, "model": model, "weights": weights}
    with nothing_left(path, (IDENTITY, *FOLDERS), partial(took_locks, path / "locks")):
        bench = Bench(study, Home(path, name, budget, device, study.settings), seeds, device)
        tell = progress if callable(progress) else None
        if workers > 1 and not all(job.is_done() for job in bench.jobs()):
            _in_processes(workers, (name, budget, seeds, path, device, data, model, weights), bench, tell)
        do_all(bench, tell)
    found = replace(collected(name, budget, bench), given={key: value for key, value in given.items() if value})
    write_record(found)
    return found


def _in_processes(workers: int, task: tuple[Any, ...], bench: Bench, tell: Progress | None) -> None:
    """Run the jobs in several processes, and report how many are done."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(work, *task) for _ in range(workers)]
        while not all(future.done() for future in running):
            wait_for(running, timeout=POLL)
            if any(future.done() and future.exception() for future in running):
                break
            if tell is not None:
                jobs = bench.jobs()
                tell(sum(job.is_done() for job in jobs), len(jobs))
        for future in running:
            future.result()


def collected(name: str, budget: str, bench: Bench) -> Reproduction:
    """Collect the figures of a folder in which everything is done."""
    columns = gathered(bench)
    return Reproduction(
        name=name,
        budget=budget,
        seeds=bench.seeds,
        study=bench.study,
        figures={cell: summed_up(column) for cell, column in columns.items()},
        verdicts=tuple(judged(claim, columns) for claim in bench.study.claims),
        seconds=sum(_seconds(bench)),
        output=bench.home.path,
    )


def gathered(bench: Bench) -> dict[Cell, Column]:
    """Read every figure by cell: one for each seed, or one for all seeds."""
    columns: dict[Cell, list[Measured]] = {}
    for name, measurement in bench.study.measurements.items():
        for mark in _marks(name, measurement, bench.seeds):
            found = bench.home.read(mark)
            assert found is not None, f"{mark} is done"
            for cell, measured in found.cells.items():
                columns.setdefault(cell, []).append(measured)
    return dict(columns)


def _marks(name: str, measurement: Any, seeds: int) -> list[str]:
    if isinstance(measurement, Pooled):
        return [pooled_name(name, seeds)]
    return [measured_name(name, seed) for seed in range(seeds)]


def _seconds(bench: Bench) -> Iterator[float]:
    """Yield the processor time of each job; 0 if it is not done."""
    marks = [trained_name(name, seed) for name in bench.study.trainings for seed in range(bench.seeds)]
    for name, measurement in bench.study.measurements.items():
        marks += _marks(name, measurement, bench.seeds)
    for mark in marks:
        found = bench.home.read(mark)
        yield found.seconds if found else 0.0


def summed_up(column: Column) -> Figure:
    """Compute the mean and the interval of a figure."""
    values = tuple(measured.value for measured in column)
    mean = math.fsum(values) / len(values)
    interval = mean_interval(values)
    samples = [number for number in column[0].samples if not math.isnan(number)]
    if deviation(values) == 0 and samples and set(samples) <= {0.0, 1.0}:
        interval = wilson_interval(sum(samples), len(samples))
    return Figure(mean, values, interval, deviation(values))


def write_record(found: Reproduction) -> None:
    """Write figures and claims as JSON, and the page."""
    record = {**found.to_dict(), "written": time.strftime("%Y-%m-%d %H:%M")}
    atomic_write(found.output / RECORD, lambda file: file.write(json.dumps(record, indent=1).encode() + b"\n"))
    atomic_write(found.output / PAGE, lambda file: file.write(page(found).encode()))
