"""`python -m advkit.training.seeds NAMES --seeds 5 --output DIR`: train recipes over seeds, and print their errors.

It prints a line for each run with its clean error, and a line for each recipe with mean and spread. The runs lie in
DIR/NAME/SEED and are resumed by the same command. `--jobs` runs several at once, for small networks on a large GPU.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, pstdev

import torch

from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.training._loop import build, train
from advkit.training.recipes import find_recipe, list_recipes

Job = tuple[str, int]


def run_one(job: Job, output: Path, device: str, threads: int, epochs: int | None) -> tuple[Job, float, float]:
    """Train one recipe with one seed; returns the job, its clean error and its seconds of training."""
    torch.set_num_threads(threads)
    name, seed = job
    recipe = replace(find_recipe(name), seed=seed)
    recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
    data = load_data(recipe.data, split="train")
    home = output / name / str(seed)
    run = train(build(recipe), data, recipe=recipe, output=home, device=device, resume=True)
    error = run.card.clean_error
    return job, float("nan") if error is None else error, sum(row.seconds for row in run.log)


def run_all(jobs: Sequence[Job], workers: int, *options: object) -> Iterator[tuple[Job, float, float]]:
    """Yield the results of `run_one` as they arrive, `workers` processes at once (1: in this one)."""
    if workers == 1:
        yield from (run_one(job, *options) for job in jobs)  # type: ignore[arg-type]
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run_one, job, *options) for job in jobs]  # type: ignore[arg-type]
        yield from (future.result() for future in as_completed(futures))


def summary(name: str, errors: Sequence[float]) -> str:
    """`lenet5-mnist5k: clean error 1.30 % (mean of 5 seeds; sd 0.12; 1.10 to 1.50)`."""
    percent = [100 * error for error in errors]
    spread = f"sd {pstdev(percent):.2f}; {min(percent):.2f} to {max(percent):.2f}"
    return f"{name}: clean error {fmean(percent):.2f} % (mean of {len(percent)} seeds; {spread})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m advkit.training.seeds", description="Train recipes over several seeds."
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="recipes, or shell patterns such as 'vgg*'")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 .. N - 1 (default 5)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run (default 1)")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    given = parser.parse_args(arguments)
    try:
        if min(given.seeds, given.jobs, given.threads) < 1:
            raise InputError("expected --seeds, --jobs and --threads of 1 or more")
        names = [name for pattern in given.names for name in list_recipes(pattern) or [find_recipe(pattern).name]]
        jobs = [(name, seed) for name in dict.fromkeys(names) for seed in range(given.seeds)]
        load_data("mnist5k")  # made once here, not by every process at the same time
        errors: dict[str, list[float]] = {}
        for (name, seed), error, seconds in run_all(
            jobs, given.jobs, given.output, given.device, given.threads, given.epochs
        ):
            _say(f"{name} seed {seed}: clean error {100 * error:.2f} %, {seconds:.0f} s")
            errors.setdefault(name, []).append(error)
        for name, figures in errors.items():
            _say(summary(name, figures))
    except InputError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
