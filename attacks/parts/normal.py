"""The normal of the boundary, from labels alone: Chen, Jordan, Wainwright 2019, section III-C (arXiv 1904.02144)."""

from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.decision import directions
from advkit.core.best_points import choose
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle


class Estimate(NamedTuple):
    """The answers around a point of the boundary, S in the paper."""

    asked: Tensor  # (M,) int64: how many
    yes: Tensor  # (M,) int64: those that fooled
    total: Tensor  # (M, ...): the sum of the directions
    toward: Tensor  # (M, ...): the sum of those that fooled

    def updated(self, offset: Tensor, fooled: Tensor, asking: Tensor) -> "Estimate":
        """With one more answer in the rows `asking` (M,) bool: that in the direction offset (M, ...)."""
        yes = asking & fooled
        return Estimate(
            asked=self.asked + asking,
            yes=self.yes + yes,
            total=self.total + torch.where(per_row(asking, offset), offset, 0),
            toward=self.toward + torch.where(per_row(yes, offset), offset, 0),
        )

    def cleared(self, rows: Tensor) -> "Estimate":
        """Without the answers of these rows (M,) bool."""
        fresh: Estimate = choose(rows, Estimate(*(torch.zeros_like(part) for part in self)), self)
        return fresh

    def normal(self) -> Tensor:
        """(M, ...): sum (phi - mean phi) u; where all answers are the same: along the mean of u or against it."""
        share = self.yes / self.asked.clamp(min=1)
        alike = (share == 0) | (share == 1)
        factor = torch.where(alike, 0.5 - share, share)  # all yes: toward is total
        return self.toward - per_row(factor, self.total).to(self.total.dtype) * self.total


def no_estimate(oracle: Oracle) -> Estimate:
    """No answer yet."""
    zero = torch.zeros(len(oracle.x), dtype=torch.int64, device=oracle.x.device)
    none = torch.zeros_like(directions(oracle, 0))
    return Estimate(zero, zero, none, none)


def probe(oracle: Oracle, point: Tensor, far: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return a point to ask for around this one (M, ...), and the direction to it: u (M, ...), at a distance far (M,).

    The direction is in the units of u, and without what the range has taken of it.
    """
    delta = per_row(far / oracle.region.norm.size(u), point)
    around = oracle.region.clamp((point + delta * u).to(point.dtype))
    return around, ((around - point).double() / delta.clamp(min=1e-300)).to(u.dtype)
