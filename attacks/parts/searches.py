"""The search for the weight of the margin, as C&W and EAD make it: one minimisation after the other, row by row."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import MinimalAttack
from advkit.core.door import check_count, check_positive
from advkit.core.oracle import Oracle

NARROW = 1.5
"""The search for c ends when the c that hit is at most this many times the c that missed."""

STILL = 1 / 200
"""A loss that has fallen by no more than this share of itself no longer falls."""


class Search(NamedTuple):
    """Each row has its own clock: its k-th step belongs to its own search."""

    c: Tensor  # (M,) float64: weight of the margin
    low: Tensor  # (M,) float64: the largest c that missed, 0 if none
    high: Tensor  # (M,) float64: the smallest c that hit, inf if none
    hit: Tensor  # (M,) bool: this search has gained what it was made for
    number: Tensor  # (M,) int64: of the search
    k: Tensor  # (M,) int64: steps made in it
    before: Tensor  # (M,) float64: the loss when it looked back last

    def updated(self, loss: Tensor, hit: Tensor, steps: int, every: int | Tensor) -> tuple["Search", Tensor]:
        """Return the search after one more point, and (M,) bool: True where that was its last.

        Args:
            loss: (M,), the loss at the point.
            hit: (M,) bool, True where the point is better than those before.
            steps: maximum number of steps of a search.
            every: number of steps between two checks, 1 or more, a number or (M,). A search ends where the loss has
                fallen by no more than the share `STILL` since the last check.
        """
        look = self.k % every == 0
        stuck = look & (loss >= (1 - STILL) * self.before)
        before, k = torch.where(look, loss.double(), self.before), self.k + 1
        return self._replace(k=k, hit=self.hit | hit, before=before), stuck | (k >= steps)

    def bisected(self) -> "Search":
        """The next search: between miss and hit; with only one of them, a quarter of the hit or ten times the miss."""
        high = torch.where(self.hit, self.c.minimum(self.high), self.high)
        low = torch.where(self.hit, self.low, self.c.maximum(self.low))
        return self._replace(low=low, high=high).following(between(low, high, 10))

    def following(self, c: Tensor) -> "Search":
        """Return the next search, at this weight (M,)."""
        none = torch.zeros_like(self.hit)
        return self._replace(c=c, hit=none, number=self.number + 1, k=0 * self.k, before=self.before + torch.inf)

    def over(self, searches: int) -> Tensor:
        """(M,) bool: True after this many searches, or where the next would change little."""
        return (self.number >= searches) | (self.high <= NARROW * self.low)


def between(low: Tensor, high: Tensor, up: Tensor | float) -> Tensor:
    """Return the next value (M,) in a bracket that is 0 below and inf above while open: its geometric middle.

    A quarter of `high` where it is open below, `up` times `low` where it is open above.
    """
    c = torch.where(low > 0, (low * high).sqrt(), high / 4)
    return torch.where(high.isfinite(), c, low * up)


def first_search(c: Tensor) -> Search:
    """Return the first search, at the weight c (M,) float64."""
    none = torch.zeros_like(c, dtype=torch.int64)
    return Search(c, torch.zeros_like(c), c + torch.inf, none.bool(), none, none, c + torch.inf)


@dataclass(frozen=True, kw_only=True)
class SearchAttack(MinimalAttack):
    """A minimal attack that searches for the weight of the margin.

    Args:
        searches: maximum number of values of c.
        steps: maximum number of steps for each value of c.
        c: first weight of the margin; default: `linear_weight` on the clean image.
    """

    searches: int = 9
    steps: int = 100
    c: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("searches", self.searches)
        check_count("steps", self.steps)
        check_positive("c", self.c, optional=True)

    @property
    def total_steps(self) -> int:
        """`searches * steps`."""
        return self.searches * self.steps

    def _first_search(self, oracle: Oracle) -> Search:
        """The first search; its c is 0 where it has to wait for the gradient on the clean image."""
        return first_search(torch.full((len(oracle.x),), self.c or 0.0, dtype=torch.float64, device=oracle.x.device))


def linear_weight(margin: Tensor, gradient: Tensor) -> Tensor:
    """(M,) float64: 2 |margin| / |gradient|^2, the c that is right where the model is linear."""
    return 2 * margin.double().abs() / gradient.double().flatten(1).square().sum(1).clamp(min=1e-30)
