"""Two runs on the same images, image by image: McNemar's exact test (1947) on the verdicts that differ."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.intervals import mcnemar, wilson_interval
from advkit.core.saved import Content, tuples
from advkit.core.shown import Shown
from advkit.evaluation.measure.tally import Columns
from advkit.evaluation.runs.run_folder import Run, load_run


@dataclass(frozen=True, kw_only=True)
class ComparedError:
    """One error in two runs, over the images that both have.

    Attributes:
        name: "clean", "worst case", or the spec of an attack.
        count: number of images that both runs have.
        first, second: the error in each run, fractions of these images.
        first_interval, second_interval: the 95 % Wilson intervals of the errors.
        first_only, second_only: images that are wrong in one run and right in the other.
        p: McNemar's p-value for equal errors.
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


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Shown):
    """The errors that two runs on the same images both have; a sequence.

    Attributes:
        first, second: the folders of the runs.
        rows: the clean error, the worst case, and every attack that both runs have.
    """

    first: str
    second: str
    rows: tuple[ComparedError, ...]

    def _brief(self) -> str:
        return f"{self.first} against {self.second}, {self.count:,} images"

    def __getitem__(self, place: int) -> ComparedError:
        return self.rows[place]

    def __iter__(self) -> Iterator[ComparedError]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def count(self) -> int:
        """The number of images that both runs have."""
        return self.rows[0].count

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        return {"first": self.first, "second": self.second, "rows": [row.to_dict() for row in self.rows]}

    def records(self) -> list[dict[str, Any]]:
        """One row an error."""
        return [row.to_dict() for row in self.rows]

    def _packed(self) -> Content:
        return self.to_dict(), {}

    @classmethod
    def _unpacked(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        rows = tuple(ComparedError(**{name: tuples(v) for name, v in row.items()}) for row in content["rows"])
        return cls(first=content["first"], second=content["second"], rows=rows)


def compare_runs(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Comparison:
    """Compare the clean error, the worst case and every common attack of two runs, on the images that both have.

    Args:
        first, second: folders of complete runs on the same data.

    Raises:
        InputError: a run is not complete, data or labels differ, or there is no common image.
    """
    runs = load_run(first), load_run(second)
    names = [run.record["config"]["data"]["name"] for run in runs]
    if names[0] != names[1]:
        raise InputError(f"expected two runs on the same data, got {names[0]!r} and {names[1]!r}")
    specs = [run.attacks for run in runs]
    shared = ["clean", *(["worst case"] if all(map(_attacks, runs)) else []), *(s for s in specs[0] if s in specs[1])]
    counts = torch.zeros(len(shared), 4, dtype=torch.int64, device="cpu")  # wrong in each, wrong in one only
    count = 0
    for parts in _common(*runs):
        (y, v), (y_, w) = (_verdicts(run, part) for run, part in zip(runs, parts, strict=True))
        if not torch.equal(y, y_):
            raise InputError(f"expected two runs on the same data: their labels differ ({first}, {second})")
        a, b = (torch.stack([verdict[name] for name in shared]) for verdict in (v, w))  # (names, M)
        counts += torch.stack([a.sum(1), b.sum(1), (a & ~b).sum(1), (b & ~a).sum(1)], 1)
        count += len(y)
    if not count:
        raise InputError("the two runs have no image in common: evaluate both with one --count")
    rows = [_compared(name, count, *row) for name, row in zip(shared, counts.tolist(), strict=True)]
    return Comparison(first=str(first), second=str(second), rows=tuple(rows))


def _attacks(run: Run) -> int:
    """How many there are, the control left out."""
    return len(run.record["config"]["attacks"])


def _verdicts(run: Run, parts: Sequence[Columns]) -> tuple[Tensor, dict[str, Tensor]]:
    """The labels (M,), and by name who is wrong (M,) bool."""
    clean, *rows = parts
    wrong = {spec: row["wrong"] for spec, row in zip(run.attacks, rows, strict=True)}
    worst = torch.stack([clean["clean_wrong"], *(row["wrong"] for row in rows[: _attacks(run)])]).any(0)
    return clean["y"], {"clean": clean["clean_wrong"], "worst case": worst, **wrong}


def _common(first: Run, second: Run) -> Iterator[tuple[list[Columns], list[Columns]]]:
    """The columns of the images that both have, part by part: in both runs the numbers ascend."""
    ones, others = iter(first), iter(second)
    one, other = next(ones), next(others)
    while True:
        ids, theirs = one[0]["sample_ids"], other[0]["sample_ids"]
        place = torch.searchsorted(theirs, ids).clamp(max=len(theirs) - 1)
        both = theirs[place] == ids
        if bool(both.any()):
            yield _taken(one, both), _taken(other, place[both])
        ahead = int(ids[-1]) > int(theirs[-1])
        following = next(others if ahead else ones, None)
        if following is None:
            return
        one, other = (one, following) if ahead else (following, other)


def _taken(parts: list[Columns], rows: Tensor) -> list[Columns]:
    return [{name: part[name][rows] for name in ("y", "clean_wrong", "wrong") if name in part} for part in parts]


def _compared(name: str, count: int, first: int, second: int, first_only: int, second_only: int) -> ComparedError:
    return ComparedError(
        name=name,
        count=count,
        first=first / count,
        second=second / count,
        first_interval=wilson_interval(first, count),
        second_interval=wilson_interval(second, count),
        first_only=first_only,
        second_only=second_only,
        p=mcnemar(first_only, second_only),
    )
