"""The counts of a report, made in one pass over the batches; their size does not depend on the number of images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core.steady import MIXED, RANDOM

Columns = Mapping[str, Tensor]
"""Name -> one value a sample, (M,)."""

Samples = Iterable[Sequence[Columns]]
"""The columns of each batch in turn: clean, then those of each attack and of the control.

It can be gone through as often as is wanted: in memory a list, of a run its folder, read batch by batch each time.
"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The counts of one attack over all images.

    Attributes:
        images: number of images.
        wrong, top5_wrong: number of images that are wrong, see the tensors of `AttackReport`.
        right: number of images that are right without an attack.
        aimed: number of images that are right without an attack and have something to reach.
        reached: number of those images at which the attack reached its goal.
        survived: number of successes that are still one as an 8-bit file; None outside of runs.
        noise_right, noise_wrong: wrong and right where the control is right and wrong; 0 without a control.
        zero_gradient: number of images at which the gradient was zero everywhere.
        non_finite: number of images for which the model answered NaN or infinity, or the goal NaN, during the search.
        hidden: number of images with such an answer that are not wrong; the attack did not search beyond it.
        unsteady: number of images whose verdict contradicted an earlier answer to the same point.
        verdicts: number of wrong images in each of several verdicts; empty for one verdict.
        confidence: sum of the confidence over the wrong images.
        queries, gradients: passes over all images.
        seconds: wall-clock time.
    """

    images: int
    wrong: int
    top5_wrong: int
    right: int
    aimed: int
    reached: int
    survived: int | None = None
    noise_right: int = 0
    noise_wrong: int = 0
    zero_gradient: int
    confidence: float
    queries: int
    gradients: int
    seconds: float
    non_finite: int = 0
    hidden: int = 0
    unsteady: int = 0
    verdicts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdicts", tuple(self.verdicts))


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts over all images: without an attack, in the worst case over the attacks, and of each attack.

    Attributes:
        images: number of images.
        wrong, top5_wrong: numbers of images that are wrong without an attack.
        worst: number of images that are wrong without an attack, or under at least one.
        random: number of images in batches whose first image got another answer when it was asked again.
        mixed: number of images in batches whose first image got another answer alone than among the others.
        verdicts: number of images that are wrong without an attack in each of several fresh verdicts.
        rows: counts of each attack and of the control.
    """

    images: int
    wrong: int
    top5_wrong: int
    worst: int
    rows: tuple[Counts, ...]
    random: int = 0
    mixed: int = 0
    verdicts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdicts", tuple(self.verdicts))


def tally(samples: Samples, attacks: int) -> Tally:
    """Count all batches; the first `attacks` rows of each are attacks, a further row is the control."""
    images = wrong = top5_wrong = worst = random = mixed = 0
    verdicts: tuple[int, ...] = ()
    totals: list[dict[str, Any]] = []
    for clean, *rows in samples:
        images += len(clean["y"])
        wrong += _count(clean["clean_wrong"])
        top5_wrong += _count(clean["clean_top5_wrong"])
        worst += _count(torch.stack([clean["clean_wrong"], *(row["wrong"] for row in rows[:attacks])]).any(0))
        nature = clean.get("nature", torch.zeros(0, device="cpu"))  # runs of earlier versions have none
        random, mixed = random + _count(nature == RANDOM), mixed + _count(nature == MIXED)
        verdicts = _sum_up(verdicts, _verdicts(clean))
        control = rows[attacks] if len(rows) > attacks else None
        found = [_row(clean, row, control) for row in rows]
        totals = [_sum(a, b) for a, b in zip(totals, found, strict=True)] if totals else found
    counts = tuple(Counts(**total) for total in totals)
    asked = {"random": random, "mixed": mixed}
    whole = {"images": images, "wrong": wrong, "top5_wrong": top5_wrong, "worst": worst}
    return Tally(**whole, **asked, rows=counts, verdicts=verdicts)


def _row(clean: Columns, row: Columns, control: Columns | None) -> dict[str, Any]:
    """The counts of one attack on one batch."""
    aimed = aimed_at(clean, row)
    reached = aimed & row["reached"]
    more: dict[str, Any] = {"survived": _count(reached & row["survives_8bit"])} if "survives_8bit" in row else {}
    if control is not None:
        more["noise_right"] = _count(row["wrong"] & ~control["wrong"])
        more["noise_wrong"] = _count(control["wrong"] & ~row["wrong"])
    return {
        "images": len(aimed),
        "wrong": _count(row["wrong"]),
        "top5_wrong": _count(row["top5_wrong"]),
        "right": _count(~clean["clean_wrong"]),
        "aimed": _count(aimed),
        "reached": _count(reached),
        "zero_gradient": _count(row["zero_gradient"]),
        "confidence": row["confidence"][row["wrong"]].sum().item(),
        "queries": _count(row["queries"]),
        "gradients": _count(row["gradients"]),
        "seconds": row["seconds"].sum().item(),
        **_honesty(row),
        **more,
    }


def _honesty(row: Columns) -> dict[str, Any]:
    """How far the answers of the model can be believed; runs of earlier versions do not say."""
    none = torch.zeros_like(row["wrong"])
    broken, unsteady = row.get("non_finite", none), row.get("unsteady", none)
    return {
        "non_finite": _count(broken),
        "hidden": _count(broken & ~row["wrong"]),
        "unsteady": _count(unsteady),
        "verdicts": _verdicts(row),
    }


def _verdicts(columns: Columns) -> tuple[int, ...]:
    """How many are wrong in each of the fresh verdicts."""
    return tuple(columns["verdicts"].sum(0).tolist()) if "verdicts" in columns else ()


def _sum_up(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(first, second, strict=True)) if first else second


def aimed_at(clean: Columns, row: Columns) -> Tensor:
    """Return (M,) bool: right without an attack, and with something to reach."""
    return ~clean["clean_wrong"] & row["meant"]


def _count(column: Tensor) -> int:
    return int(column.sum())


def _sum(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    added = {name: value + second[name] for name, value in first.items() if name != "verdicts"}
    return {**added, "verdicts": _sum_up(first["verdicts"], second["verdicts"])}
