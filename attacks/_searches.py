"""The search for the weight of the margin, as C&W and EAD make it: one minimisation after the other, row by row."""

from typing import NamedTuple

import torch
from torch import Tensor

NARROW = 1.5
"""Between c that missed and one that hit, so many times as large, no further search is made."""


class Search(NamedTuple):
    """Each row has its own clock: its k-th step belongs to its own search."""

    c: Tensor  # (M,) float64: weight of the margin
    low: Tensor  # (M,) float64: the largest c that missed, 0 if none
    high: Tensor  # (M,) float64: the smallest c that hit, inf if none
    hit: Tensor  # (M,) bool: this search has gained what it was made for
    number: Tensor  # (M,) int64: of the search
    k: Tensor  # (M,) int64: steps made in it
    before: Tensor  # (M,) float64: the loss when it looked back last

    def seen(self, loss: Tensor, hit: Tensor, steps: int, looks: int | Tensor = 10) -> tuple["Search", Tensor]:
        """With one more point; (M,) bool: it was the search's last.

        Args:
            loss: (M,) at the point.
            hit: (M,) bool, the point gains.
            steps: the most steps of a search.
            looks: a search looks back so many times, a number or (M,); it ends where the loss has not fallen by a
                ten-thousandth since the last time.
        """
        look = self.k % torch.as_tensor(steps // looks, device=loss.device).clamp(min=1) == 0
        stuck = look & (loss >= 0.9999 * self.before)
        before, k = torch.where(look, loss.double(), self.before), self.k + 1
        return self._replace(k=k, hit=self.hit | hit, before=before), stuck | (k >= steps)

    def bisected(self) -> "Search":
        """The next search: between what missed and what hit; a quarter or ten times as much where there is but one."""
        high = torch.where(self.hit, self.c.minimum(self.high), self.high)
        low = torch.where(self.hit, self.low, self.c.maximum(self.low))
        c = torch.where(low > 0, (low * high).sqrt(), high / 4)
        c = torch.where(high.isfinite(), c, self.c * 10)
        return self._replace(low=low, high=high).following(c)

    def following(self, c: Tensor) -> "Search":
        """The next search, at this weight (M,)."""
        none = torch.zeros_like(self.hit)
        return self._replace(c=c, hit=none, number=self.number + 1, k=0 * self.k, before=self.before + torch.inf)

    def over(self, searches: int) -> Tensor:
        """(M,) bool: after so many searches, or where the next would change little."""
        return (self.number >= searches) | (self.high <= NARROW * self.low)


def begin(c: Tensor) -> Search:
    """The first search, at the weight c (M,) float64."""
    none = torch.zeros_like(c, dtype=torch.int64)
    return Search(c, torch.zeros_like(c), c + torch.inf, none.bool(), none, none, c + torch.inf)
