"""From an adversarial point back to the boundary: Newton's method along the way to the image, within a bracket."""

from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.best_points import noise_floor
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle


class LineSearch(NamedTuple):
    """The way back from `end` to the clean image: the boundary is between the shares `low` and `high` of it."""

    steps: Tensor  # (M,) int64: made on it, 0 before it
    share: Tensor  # (M,) float64: where the next point is
    low: Tensor  # (M,) float64
    high: Tensor  # (M,) float64
    end: Tensor  # (M, ...)
    found: Tensor  # (M,) bool: the latest point fools, and the next is where it is

    def after(self, oracle: Oracle, x_adv: Tensor, begins: Tensor, lead: Tensor, gradient: Tensor) -> "LineSearch":
        """Return the search after the answer to x_adv, which is a point of the way or, where a way begins, its end.

        Args:
            oracle: the oracle that has answered x_adv.
            x_adv: (M, ...), the latest points.
            begins: (M,) bool, True where a row turns back if x_adv fools, unless it is on its way already.
            lead: (M,), the lead of the likeliest rival at x_adv; it is positive beyond the boundary.
            gradient: (M, ...), the gradient of that lead.
        """
        fooled, under = oracle.fooled, self.steps > 0
        begins = begins & fooled & ~under
        end = torch.where(per_row(begins, x_adv), x_adv, self.end)
        high = torch.where(under & fooled, self.share, self.high)
        low = torch.where(under & ~fooled, self.share, self.low)
        slope = (gradient * (end - oracle.x)).flatten(1).sum(1).double()
        newton = self.share - (lead.double() - 2 * noise_floor(oracle.answer)) / slope
        share = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
        found = under & fooled & ((share - self.share).abs() < 1e-6)
        return LineSearch(self.steps + (under | begins), share, low, high, end, found)

    def point(self, x: Tensor) -> Tensor:
        """(M, ...): the next point of the way to x."""
        return x + per_row(self.share, x).to(x.dtype) * (self.end - x)


def no_line_search(oracle: Oracle) -> LineSearch:
    """No row is on its way yet."""
    none = torch.zeros(len(oracle.x), dtype=torch.int64, device=oracle.x.device)
    return LineSearch(none, none.double() + 1, none.double(), none.double() + 1, oracle.x, none.bool())
