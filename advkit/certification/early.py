"""Rows whose bound need only exceed a number: those that do leave a backward pass early."""

import torch
from torch import Tensor

from advkit.certification.rounding import DOUBLE, gamma
from advkit.certification.unit_rows import Rows


class Early:
    """For each row of a backward pass, the first bound that exceeds its limit, or the bound at the end of the pass.

    At any node, the box of the node bounds what is left of the pass. That bound is sound, and less tight than the end
    of the pass.

    Args:
        limit: the limits (N, R).
    """

    def __init__(self, limit: Tensor) -> None:
        self.limit, self.bound = limit, torch.full_like(limit, -torch.inf)
        self.index = torch.arange(limit.shape[1], device=limit.device).expand(len(limit), -1)
        """Which row each one of those left is (N, R')."""

    def saw(self, bound: Tensor) -> Tensor:
        """Keep bounds (N, R') of the rows left, and return which are open; a bound beyond the limit stays as it is."""
        limit, old = self.limit.gather(1, self.index), self.bound.gather(1, self.index)
        new = torch.where(old > limit, old, bound)
        self.bound = self.bound.scatter(1, self.index, new)
        return ~(new > limit)  # no number stays open

    def ended(self, bound: Tensor) -> Tensor:
        """The bounds of all rows (N, R), given those (N, R') at the end of the pass."""
        self.saw(bound)
        return self.bound

    def left(self, row: Rows, total: Tensor, box: tuple[Tensor, Tensor]) -> tuple[Rows, Tensor]:
        """Bound the rows by the box of a node, and return the rows within their limits, with their constants.

        Each sample keeps as many rows as the one that needs most.

        Args:
            row: coefficients of the node.
            total: constants (N, R').
            box: least and largest values (N, *shape) of the node.
        """
        open_ = self.saw(total + boxed(row, box))
        count = max(1, int(open_.sum(1).amax()))  # note: a wait for the device
        if count == open_.shape[1]:
            return row, total
        kept = open_.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :count]
        self.index = self.index.gather(1, kept)
        return row.chosen(kept), total.gather(1, kept)


def boxed(row: Rows, box: tuple[Tensor, Tensor]) -> Tensor:
    """A lower bound (N, R) of <a, z> over a box of the node (N, *shape); the rounding of the sums is counted."""
    low, high = box
    shape = tuple(low.shape[1:])
    wide = 4 * gamma(low[0].numel() + 32, DOUBLE) * torch.maximum(low.abs(), high.abs())
    middle, radius = row.cut((low + high) / 2, shape), row.cut((low - high) / 2 - wide, shape)
    return torch.addcmul(row.a * middle, row.a.abs(), radius).flatten(2).sum(2)
