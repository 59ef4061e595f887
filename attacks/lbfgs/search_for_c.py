"""The search for the largest weight of the distance whose minimiser reaches the goal, begun anew from other starts."""

from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.searches import between

TINY = 1e-30
"""Least value of a weight or of what is spent."""

LEAP = 0.2
"""How far the k-th leap goes: k times this share of the range of a pixel."""


class SearchForC(NamedTuple):
    """One minimisation for each c; the rounds of the search differ in where they start."""

    c: Tensor  # (M,)
    hit: Tensor  # (M,): the largest c of this round whose minimiser reached the goal, 0 if none
    miss: Tensor  # (M,): the smallest c of this round whose minimiser did not, inf if none
    number: Tensor  # (M,) int64: minimisations finished
    leaps: Tensor  # (M,) int64: fresh starts made

    def after(self, over: Tensor, fooled: Tensor, first: int, others: int) -> tuple["SearchForC", Tensor]:
        """With the verdicts on c; and (M,) bool, the rows that are to leap to a fresh start.

        Within a round c doubles, in the first round it grows fourfold, until one misses; then the middle is tried. A
        round ends after so many minimisations; the next begins at the largest c that hit. A row that misses before any
        has hit leaps too.

        Args:
            over: (M,) bool, the minimisation at c has ended,
            fooled: (M,) bool, and has reached the goal.
            first: how many minimisations the first round has.
            others: how many each later one.
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
        """With |g|^2 / (20 J) for a c of 0, from the linear model of J (M,) with gradient g (M, D) on the clean image.

        J falls along g and is spent at a distance r = J / |g|, where c = |g| / (2 r); a tenth of that. Where the logits
        are small J stays near log K however near the boundary is: it counts as three times the margin (M,) at most.
        """
        spent = loss.abs().minimum(3 * margin.abs().to(loss.dtype)).clamp(min=TINY)
        linear = (gradient**2).sum(1) / (20 * spent)
        return self._replace(c=torch.where(self.c > 0, self.c, linear.clamp(min=TINY)))

    def away(self, x: Tensor, downhill: Tensor) -> Tensor:
        """Where the latest leap from x (M, D) leads, in the direction downhill (M, D), a sign an entry."""
        return x + (LEAP * self.leaps[:, None]).clamp(max=1) * downhill


def first_round(c: Tensor) -> SearchForC:
    """The first round, at the weight c (M,), 0 for one that `started` chooses."""
    zero, none = torch.zeros_like(c), torch.zeros_like(c, dtype=torch.int64)
    return SearchForC(c, zero, zero + torch.inf, none, none)
