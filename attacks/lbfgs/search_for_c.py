"""The search for the largest weight of the distance whose minimiser reaches the goal, begun anew from other starts."""

from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.searches import between

TINY = 1e-30
"""Least value of a weight or of what is spent."""

LEAP = 0.2
"""The k-th leap goes k times this share of the range of a pixel."""


class SearchForC(NamedTuple):
    """One minimisation for each c; the rounds of the search differ in where they start."""

    c: Tensor  # (M,)
    hit: Tensor  # (M,): the largest c of this round whose minimiser reached the goal, 0 if none
    miss: Tensor  # (M,): the smallest c of this round whose minimiser did not, inf if none
    number: Tensor  # (M,) int64: minimisations finished
    leaps: Tensor  # (M,) int64: fresh starts made

    def after(self, over: Tensor, fooled: Tensor, first: int, others: int) -> tuple["SearchForC", Tensor]:
        """Return the search after the verdicts on c, and (M,) bool, the rows that leap to a fresh start.

        Within a round c doubles (fourfold in the first round) until one c misses; then the middle of the bracket is
        tried. The next round begins at the largest c that hit. A row that misses before any c has hit leaps too.

        Args:
            over: (M,) bool, True where the minimisation at c has ended.
            fooled: (M,) bool, True where that minimisation has reached the goal.
            first: number of minimisations in the first round.
            others: number of minimisations in each later round.
        """
        hit, miss = over & fooled, over & ~fooled
        number = self.number + over
        most, least = torch.where(hit, self.c, self.hit), torch.where(miss, self.c, self.miss)
        c = between(most, least, torch.where(number <= first, 4.0, 2.0))
        turn = over & (number >= first) & ((number - first) % others == 0)
        c = torch.where(turn & (most > 0), most, c)
        leap = turn | (miss & (most == 0))
        search = SearchForC(
            c=torch.where(over, c.to(self.c.dtype), self.c),
            hit=torch.where(turn, 0, most),
            miss=torch.where(turn, torch.inf, least),
            number=number,
            leaps=self.leaps + leap,
        )
        return search, leap

    def started(self, loss: Tensor, gradient: Tensor, margin: Tensor) -> "SearchForC":
        """Replace a c of 0 by |g|^2 / (20 J), with J (M,) and its gradient g (M, D) on the clean image.

        The linear model of J reaches 0 at the distance r = J / |g|, where c = |g| / (2 r). A tenth of that is taken.
        With small logits J stays near log K even close to the boundary, so it counts as at most three times the margin
        (M,).
        """
        spent = loss.abs().minimum(3 * margin.abs().to(loss.dtype)).clamp(min=TINY)
        linear = (gradient**2).sum(1) / (20 * spent)
        return self._replace(c=torch.where(self.c > 0, self.c, linear.clamp(min=TINY)))

    def away(self, x: Tensor, downhill: Tensor) -> Tensor:
        """Return the end of the latest leap from x (M, D) along downhill (M, D), which holds a sign for each entry."""
        return x + (LEAP * self.leaps[:, None]).clamp(max=1) * downhill


def first_round(c: Tensor) -> SearchForC:
    """Return the first round, at the weight c (M,); where it is 0, `started` chooses it."""
    zero, none = torch.zeros_like(c), torch.zeros_like(c, dtype=torch.int64)
    return SearchForC(c, zero, zero + torch.inf, none, none)
