"""Error against eps, as a step function: the fraction of images that are wrong within each distance."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import inf
from statistics import median
from typing import Any

import torch
from torch import Tensor

from advkit.core.door import check_count, check_one_eps
from advkit.core.intervals import wilson_interval
from advkit.core.saved import finite
from advkit.core.shown import Shown
from advkit.core.words import percent, short

STEPS = 600
"""Steps of a staircase that is drawn: more than a picture tells apart."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Curve(Shown):
    """A step function: from `eps[i]` on, the fraction `error[i]` of all images is wrong; below the first, `clean`.

    Attributes:
        name: name of the curve.
        count: the number of images.
        clean: the error at eps 0, a fraction.
        eps: the radii at which one image or more become wrong, ascending.
        error: the error from each of these radii on: a lower bound.
        most: the largest eps that was tried; inf if every distance was.
        median: the median distance over the images that are right without an attack; None if half withstood.
        attack, norm, data: the attack, the norm of the radii, and the name of the images; empty if unknown.
    """

    name: str
    count: int
    clean: float
    eps: tuple[float, ...]
    error: tuple[float, ...]
    median: float | None
    most: float = inf
    attack: str = ""
    norm: str = ""
    data: str = ""

    def _brief(self) -> str:
        return f"{self.name}, {self.count:,} images, clean error {percent(self.clean)}, median {short(self.median)}"

    def at(self, eps: float) -> float:
        """Return the error within eps.

        Args:
            eps: the radius, in the units of the curve.

        Raises:
            InputError: the radius is no number >= 0.
        """
        eps = check_one_eps(eps)
        return (self.clean, *self.error)[bisect_right(self.eps, eps)]

    def interval(self, eps: float) -> tuple[float, float]:
        """Return the 95 % Wilson interval of the error within eps.

        Args:
            eps: the radius, in the units of the curve.
        """
        return wilson_interval(round(self.at(eps) * self.count), self.count)

    def records(self) -> list[dict[str, Any]]:
        """One row a step, the clean error first."""
        rows = []
        for eps in (0.0, *self.eps):
            error, (low, high) = self.at(eps), self.interval(eps)
            rows.append({"name": self.name, "eps": eps, "error": error, "low": low, "high": high})
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        return {**asdict(self), "eps": list(self.eps), "error": list(self.error), "most": finite(self.most)}


def curve_of(name: str, wrong: Tensor, distance: Tensor) -> Curve:
    """Make the curve of a minimal attack, with a step for each distance.

    Args:
        name: name of the curve.
        wrong: (N,) bool, True where the image is wrong.
        distance: (N,) float64, the distance from which on the image is wrong; 0 if it is wrong without an attack.
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


def drawn(name: str, parts: Iterable[tuple[Tensor, Tensor]], radii: Sequence[float], *, every: bool) -> Curve:
    """Make the curve at given radii, for any number of images.

    Args:
        name: name of the curve.
        parts: two tensors for each batch: (M,) bool, True where the image is wrong without an attack; and (M,) float64,
            the distance from which on it is wrong, inf if never.
        radii: radii at which to count, ascending.
        every: whether larger radii were tried too.
    """
    grid = torch.tensor(radii, dtype=torch.float64, device="cpu")
    fallen, clean, count = torch.zeros(len(grid), dtype=torch.int64, device="cpu"), 0, 0
    for wrong, distance in parts:
        within = torch.searchsorted(grid, distance[~wrong])
        fallen += torch.bincount(within[within < len(grid)], minlength=len(grid))
        clean, count = clean + int(wrong.sum()), count + len(wrong)
    reached = fallen.cumsum(0)
    half = (2 * reached >= count - clean).nonzero().flatten().tolist()
    return Curve(
        name=name,
        count=count,
        clean=clean / count,
        eps=tuple(radii),
        error=tuple(((clean + reached).double() / count).tolist()),
        median=radii[half[0]] if half and clean < count else None,
        most=inf if every else radii[-1],
    )


def nice_radii(curves: list[Curve], *, most: int = 8) -> list[float]:
    """Return at most `most` radii (1, 2 or 5 times a power of ten) that cover the steps of the curves.

    Args:
        curves: curves whose steps the radii should cover.
        most: maximum number of radii.

    Raises:
        InputError: `most` is no integer of 1 or more.
    """
    most = check_count("most", most)
    found = sorted(eps for curve in curves for eps in curve.eps)
    if not found:
        return []
    low, high = found[len(found) // 50], found[-1]
    series = [m * 10.0**k for k in range(-9, 9) for m in (1, 2, 5)]
    inside = [eps for eps in series if low * 0.4 <= eps <= high * 2.5]
    return inside[:: max(1, -(-len(inside) // most))]
