"""What a report counts, in one pass over the batches: so many numbers, whatever the number of images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Columns = Mapping[str, Tensor]
"""Name -> one value a sample, (M,)."""

Samples = Iterable[Sequence[Columns]]
"""The columns of each batch in turn: clean, then those of each attack and of the control.

It can be gone through as often as is wanted: in memory a list, of a run its folder, read batch by batch each time.
"""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What is counted of one attack over all images.

    Attributes:
        images: how many there are.
        wrong, top5_wrong: as in `AttackReport`.
        right: right without an attack.
        aimed: of these, with something to reach.
        reached: of these, where the attack reached its goal.
        survived: of these, still a success as an 8-bit file; None outside of runs.
        noise_right, noise_wrong: wrong and right where the control is right and wrong; 0 without a control.
        zero_gradient: the gradient was zero everywhere.
        confidence: the sum over those that are wrong.
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


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts over all images: without an attack, in the worst case over the attacks, and of each attack.

    Attributes:
        images: how many there are.
        wrong, top5_wrong: without an attack.
        worst: wrong without an attack, or under at least one.
        rows: of each attack and of the control.
    """

    images: int
    wrong: int
    top5_wrong: int
    worst: int
    rows: tuple[Counts, ...]


def tally(samples: Samples, attacks: int) -> Tally:
    """Count; the first so many rows of each batch are attacks, one that follows is the control."""
    images = wrong = top5_wrong = worst = 0
    totals: list[dict[str, float]] = []
    for clean, *rows in samples:
        images += len(clean["y"])
        wrong += _count(clean["clean_wrong"])
        top5_wrong += _count(clean["clean_top5_wrong"])
        worst += _count(torch.stack([clean["clean_wrong"], *(row["wrong"] for row in rows[:attacks])]).any(0))
        control = rows[attacks] if len(rows) > attacks else None
        found = [_row(clean, row, control) for row in rows]
        totals = [_sum(a, b) for a, b in zip(totals, found, strict=True)] if totals else found
    counts = tuple(Counts(**total) for total in totals)  # type: ignore[arg-type]
    return Tally(images=images, wrong=wrong, top5_wrong=top5_wrong, worst=worst, rows=counts)


def _row(clean: Columns, row: Columns, control: Columns | None) -> dict[str, float]:
    """The counts of one attack on one batch."""
    aimed = aimed_at(clean, row)
    reached = aimed & row["reached"]
    more: dict[str, float] = {"survived": _count(reached & row["survives_8bit"])} if "survives_8bit" in row else {}
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
        **more,
    }


def aimed_at(clean: Columns, row: Columns) -> Tensor:
    """(M,) bool: right without an attack, and with something to reach."""
    return ~clean["clean_wrong"] & row["meant"]


def _count(column: Tensor) -> int:
    return int(column.sum())


def _sum(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: value + second[name] for name, value in first.items()}
