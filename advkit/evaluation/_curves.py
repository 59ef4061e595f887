"""Error against eps, as a staircase: the fraction of images that are wrong within each distance."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from statistics import median
from typing import Any

import torch
from torch import Tensor

from advkit.evaluation.intervals import wilson_interval
from advkit.evaluation.report import finite


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A staircase: from `eps[i]` on, `error[i]` of all images are wrong; before the first, `clean` of them.

    Attributes:
        name: what is drawn.
        count: the number of images.
        clean: the error at eps 0, a fraction.
        eps: the radii at which an image or more fall, ascending.
        error: the error from each of them on: a lower bound.
        most: the largest eps that was tried; inf if every distance was.
        median: the median distance over the images that are right without an attack; None if half of them stand.
    """

    name: str
    count: int
    clean: float
    eps: tuple[float, ...]
    error: tuple[float, ...]
    median: float | None
    most: float = inf

    def at(self, eps: float) -> float:
        """The error within eps."""
        return (self.clean, *self.error)[bisect_right(self.eps, eps)]

    def interval(self, eps: float) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return wilson_interval(round(self.at(eps) * self.count), self.count)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        return {**asdict(self), "eps": list(self.eps), "error": list(self.error), "most": finite(self.most)}


def curve_of(name: str, wrong: Tensor, distance: Tensor) -> Curve:
    """The staircase of a minimal attack.

    Args:
        name: what is drawn.
        wrong: (N,) bool, who is wrong.
        distance: (N,) float64, from which distance on; 0 if without an attack.
    """
    distance = torch.where(wrong, distance, inf)
    fallen = distance[distance.isfinite() & (distance > 0)].sort().values
    clean = int((distance == 0).sum())
    steps, counts = torch.unique_consecutive(fallen, return_counts=True)
    errors = (clean + counts.cumsum(0)).double() / max(len(wrong), 1)
    right = distance[distance > 0].tolist()
    middle = median(right) if right else None
    return Curve(
        name=name,
        count=len(wrong),
        clean=clean / max(len(wrong), 1),
        eps=tuple(steps.tolist()),
        error=tuple(errors.tolist()),
        median=finite(middle),
    )


def envelope(name: str, clean_wrong: Tensor, tried: Sequence[tuple[float, Tensor]]) -> Curve:
    """The staircase of a budget attack that was tried with several eps: best over eps' <= eps.

    Args:
        name: what is drawn.
        clean_wrong: (N,) bool, wrong without an attack.
        tried: eps, and who was wrong under it (N,) bool.
    """
    distance = torch.full(clean_wrong.shape, inf, dtype=torch.float64)
    for eps, wrong in tried:
        distance = torch.where(wrong, distance.clamp(max=eps), distance)
    distance = torch.where(clean_wrong, 0.0, distance)
    return replace(curve_of(name, distance.isfinite(), distance), most=max(eps for eps, _ in tried))
