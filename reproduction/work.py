"""The one engine: trains what is missing, measures what is missing, in one process or in several on one folder."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree

import torch

from advkit.attacks import create_attack
from advkit.core.errors import InputError
from advkit.defenses import create_defense
from advkit.models import Classifier
from advkit.reproduction.kept import Home, seal_of
from advkit.reproduction.looking_at import data_of
from advkit.reproduction.study import Measurement, Pooled, Study, Training, declared
from advkit.training import build, train

WEIGHTS = "model.safetensors"
"""The file that a training leaves in its folder."""

WAIT = 0.2
"""Seconds between two checks for the work of other processes."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """One job: a network to train, or figures to measure."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[], None]
    is_done: Callable[[], bool]


def measured_name(measurement: str, seed: int | None) -> str:
    """Return the name under which a measurement keeps its figures of one seed, or of all seeds."""
    return f"{measurement}, all seeds" if seed is None else f"{measurement}, seed {seed}"


def pooled_name(measurement: str, seeds: int) -> str:
    """Return the name under which a measurement over several seeds keeps its figures."""
    return f"{measurement}, {seeds} seeds"


class Bench:
    """A study, its folder, and the jobs that it needs.

    Args:
        study: the study.
        home: folder of the study.
        seeds: number of seeds.
        device: device to train and measure on.
    """

    def __init__(self, study: Study, home: Home, seeds: int, device: str) -> None:
        self.study, self.home, self.seeds, self.device = study, home, seeds, device

    def jobs(self) -> list[Job]:
        """Return all jobs, seed by seed, each after the jobs that it needs."""
        jobs = []
        for seed in range(self.seeds):
            jobs += [self._training(name, training, seed) for name, training in self.study.trainings.items()]
            jobs += [
                self._measurement(name, measurement, seed)
                for name, measurement in self.study.measurements.items()
                if isinstance(measurement, Measurement)
            ]
        jobs += [
            self._pooled(name, measurement)
            for name, measurement in self.study.measurements.items()
            if isinstance(measurement, Pooled)
        ]
        return jobs

    def _training(self, name: str, training: Training, seed: int) -> Job:
        mark, weights = trained_name(name, seed), self.home.network(name, seed) / WEIGHTS

        def is_done() -> bool:
            found = self.home.read(mark)
            return found is not None and found.seal == seal_of(weights)

        return Job(mark, (), lambda: self._train(name, training, seed), is_done)

    def _train(self, name: str, training: Training, seed: int) -> None:
        """Train a network. A run that was killed is resumed; a damaged one begins again."""
        folder, start = self.home.network(name, seed), time.process_time()
        try:
            self._trained(name, training, seed)
        except InputError:
            if not folder.exists():
                raise
            rmtree(folder)
            self._trained(name, training, seed)
        self.home.write(trained_name(name, seed), {}, time.process_time() - start, seal_of(folder / WEIGHTS))

    def _trained(self, name: str, training: Training, seed: int) -> Classifier:
        """Return the network, from its folder if it has been trained."""
        recipe = replace(training.recipe, seed=seed)
        loss = training.loss or (create_defense(recipe.defense) if recipe.defense else None)
        run = train(
            build(recipe),
            data_of(recipe.data, "train"),
            recipe=recipe,
            loss=loss,
            watch=None if recipe.watch == "clean" else create_attack(recipe.watch),
            test=data_of(training.test or recipe.data, "test"),
            output=self.home.network(name, seed),
            device=self.device,
            resume=True,
        )
        return run.classifier

    def network(self, name: str, seed: int) -> Classifier:
        """Return a trained network, in eval mode."""
        return self._trained(name, self.study.trainings[name], seed)

    def _measurement(self, name: str, measurement: Measurement, seed: int) -> Job:
        mark = measured_name(name, seed)

        def run() -> None:
            networks = {network: self.network(network, seed) for network in measurement.networks}
            start = time.process_time()
            cells = measurement.measure(networks, seed)
            self.home.write(mark, cells, time.process_time() - start)

        needs = tuple(trained_name(network, seed) for network in measurement.networks)
        return Job(mark, needs, run, lambda: self.home.read(mark) is not None)

    def _pooled(self, name: str, measurement: Pooled) -> Job:
        mark, seeds = pooled_name(name, self.seeds), range(self.seeds)

        def run() -> None:
            networks = {network: [self.network(network, seed) for seed in seeds] for network in measurement.networks}
            start = time.process_time()
            cells = measurement.measure(networks)
            self.home.write(mark, cells, time.process_time() - start)

        needs = tuple(trained_name(network, seed) for network in measurement.networks for seed in seeds)
        return Job(mark, needs, run, lambda: self.home.read(mark) is not None)


def trained_name(network: str, seed: int) -> str:
    """Return the name of the mark that says that a network has been trained."""
    return f"training of {network}, seed {seed}"


def do_all(bench: Bench, progress: Progress | None = None) -> None:
    """Do the remaining jobs, beside other processes on the same folder, and return when all are done."""
    left = bench.jobs()
    count = len(left)
    with one_thread():
        while left:
            before = len(left)
            for job in list(left):
                if _attempt(job, left, bench.home):
                    left.remove(job)
                    if progress is not None:
                        progress(count - len(left), count)
            if len(left) == before:
                time.sleep(WAIT)  # another process does what is left


def _attempt(job: Job, left: list[Job], home: Home) -> bool:
    """Do the job if no other process has it, and return whether it is done."""
    if job.is_done():
        return True
    if any(other.name in job.needs for other in left):
        return False
    with home.locked(job.name) as mine:
        if not mine:
            return False
        if not job.is_done():  # another process may have done it since
            job.run()
    return True


@contextmanager
def one_thread() -> Iterator[None]:
    """Make torch use one thread, so that the last bits do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def work(
    name: str,
    budget: str,
    seeds: int,
    path: Path,
    device: str,
    data: str | None = None,
    model: str | None = None,
    weights: str | None = None,
) -> None:
    """Do the jobs of a study, as one of several processes.

    Args:
        name: name of the study.
        budget: name of its budget.
        seeds: number of seeds.
        path: folder of the reproduction.
        device: device to train and measure on.
        data: spec of the user's own images, see `declared`.
        model: spec of the user's own network, see `declared`.
        weights: weights of that network, see `declared`.
    """
    study = declared(name, budget, data=data, model=model, weights=weights)
    do_all(Bench(study, Home(path, name, budget, device, study.settings), seeds, device))
