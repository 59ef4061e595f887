"""Two runs on the same images, image by image: McNemar's exact test (1947) on the verdicts that differ."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.evaluation.intervals import mcnemar, wilson_interval
from advkit.evaluation.run import Run, load_run


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One error in two runs, over the images that both have.

    Attributes:
        name: "clean", "worst case", or the spec of an attack.
        count: how many images both runs have.
        first, second: the error in each run, fractions of these images.
        first_interval, second_interval: their 95 % Wilson intervals.
        first_only, second_only: images that are wrong in one run and right in the other.
        p: McNemar's p-value that the two errors are equal.
    """

    name: str
    count: int
    first: float
    second: float
    first_interval: tuple[float, float]
    second_interval: tuple[float, float]
    first_only: int
    second_only: int
    p: float

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        return asdict(self)


def compare_runs(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> list[Comparison]:
    """The clean error, the worst case and every attack that both runs have, compared on the images that both have.

    Args:
        first, second: folders of complete runs on the same data.

    Raises:
        InputError: no complete run, other data, labels that differ, or no image in common.
    """
    runs = load_run(first), load_run(second)
    names = [run.record["config"]["data"]["name"] for run in runs]
    if names[0] != names[1]:
        raise InputError(f"expected two runs on the same data, got {names[0]!r} and {names[1]!r}")
    verdicts = [dict(_verdicts(run)) for run in runs]
    rows = _common(verdicts[0]["id"], verdicts[1]["id"])
    labels = [v["label"][r] for v, r in zip(verdicts, rows, strict=True)]
    if not torch.equal(labels[0], labels[1]):
        raise InputError(f"expected two runs on the same data: their labels differ ({first}, {second})")
    shared = [name for name in verdicts[0] if name in verdicts[1] and name not in ("id", "label")]
    return [_compared(name, *(v[name][r] for v, r in zip(verdicts, rows, strict=True))) for name in shared]


def _verdicts(run: Run) -> Iterator[tuple[str, Tensor]]:
    """Name -> one value a sample (N,): id and label, then what is wrong."""
    clean, *rows = run.all_columns()
    yield "id", clean["sample_ids"]
    yield "label", clean["y"]
    yield "clean", clean["clean_wrong"]
    attacks = len(run.record["config"]["attacks"])
    if attacks:
        yield "worst case", torch.stack([row["wrong"] for row in rows[:attacks]]).any(0)
    yield from ((spec, row["wrong"]) for spec, row in zip(run.attacks, rows, strict=True))


def _common(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of each that hold the same ids, in one order."""
    places = {sample: i for i, sample in enumerate(second.tolist())}
    pairs = [(i, places[sample]) for i, sample in enumerate(first.tolist()) if sample in places]
    if not pairs:
        raise InputError("the two runs have no image in common: evaluate both with one --count")
    left, right = zip(*pairs, strict=True)
    return torch.tensor(left), torch.tensor(right)


def _compared(name: str, first: Tensor, second: Tensor) -> Comparison:
    count, wrong = len(first), [int(first.sum()), int(second.sum())]
    only = int((first & ~second).sum()), int((second & ~first).sum())
    return Comparison(
        name=name,
        count=count,
        first=wrong[0] / count,
        second=wrong[1] / count,
        first_interval=wilson_interval(wrong[0], count),
        second_interval=wilson_interval(wrong[1], count),
        first_only=only[0],
        second_only=only[1],
        p=mcnemar(*only),
    )
