"""FAB, fast adaptive boundary attack: Croce and Hein 2019, algorithm 1 (arXiv 1907.02044)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.nearest import nearest
from advkit.core.attack import MinimalAttack, register_attack
from advkit.core.best_points import noise_floor
from advkit.core.door import check_count, check_positive
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle

BACK = 0.9
"""The bisection goes back to no less than this share of the way."""

PATIENCE = 5
"""x loses its weight after this many steps without a hit, for it can hold a point before the boundary."""

FIRST_PATIENCE = 0.4
"""Before the first hit, x loses its weight after this share of all steps."""


class State(NamedTuple):
    """A point near the boundary."""

    x_adv: Tensor  # (M, ...)
    end: Tensor  # (M, ...): the best point when the bisection begins
    low: Tensor  # (M,) float64: the share of the way from x to it that is taken not to fool
    high: Tensor  # (M,) float64: that which fools
    patience: Tensor  # (M,) int64: the steps for which x still has a weight, unless a hit comes


@register_attack("fab")
@dataclass(frozen=True, kw_only=True)
class FAB(MinimalAttack):
    """Mix of two projections onto the nearest linearised boundary, box included: of the latest point and of x itself.

    The boundary lies where the lead is more than rounding may feign. After a hit the point is first pulled back toward
    x; the paper classifies it there once more, here the linear model at the hit serves, so a step is one pass. Where
    nothing has hit for some steps, x loses its weight until the next hit: where the boundary is curved a point would
    else sink toward x and hit no more. The last steps bisect the end of the way from x to the nearest hit.

    Cost per sample: `steps + search` queries, a query's gradient being one for each of the `rivals`.

    Args:
        norm: "linf", "l2" or "l1".
        target: the class to reach; only its boundary with the likeliest other class then counts, for one gradient.
        steps: the number of steps.
        rivals: number of the likeliest classes that are linearised. The paper takes all; with many classes a few, or 1,
            are the affordable choice.
        alpha_max: the largest weight of x's projection.
        eta: length of the projections; 1 ends on the linearised boundary.
        beta: share of the move that is kept after a hit.
        search: the number of bisections at the end.
    """

    norms = ("linf", "l2", "l1")
    paper = "Croce and Hein 2019, arXiv 1907.02044"
    climbs = False
    needs_classes = True

    steps: int = 100
    rivals: int = 5
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    search: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "rivals", "search"):
            check_count(name, getattr(self, name))
        for name in ("alpha_max", "eta", "beta"):
            check_positive(name, getattr(self, name))

    @property
    def total_steps(self) -> int:
        """`steps + search`."""
        return self.steps + self.search

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        one = torch.ones(len(oracle.x), dtype=torch.float64, device=oracle.x.device)
        return State(oracle.x, oracle.x, BACK * one, one, (FIRST_PATIENCE * self.steps * one).long())

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Take a step along the boundary, or bisect at the end."""
        return self._along(oracle, state) if i < self.steps else self._bisect(oracle, state, i)

    def _along(self, oracle: Oracle, state: State) -> State:
        region, norm = oracle.region, oracle.region.norm
        x_adv, boundary = state.x_adv, nearest(norm, *oracle.jacobian(state.x_adv, self.rivals))
        w = boundary.gradient.double()
        short = 2 * noise_floor(oracle.answer).double() - boundary.lead.double()
        level = (w * x_adv.double()).flatten(1).sum(1) + short  # the boundary: <w, z> = level
        keep = per_row(torch.where(oracle.fooled, self.beta, 1.0).double(), w)
        x, at = region.x.double(), region.x + keep * (x_adv.double() - region.x)
        step = norm.across(w, level - (w * at).flatten(1).sum(1), at, region.low, region.high)
        leap = norm.across(w, level - (w * x).flatten(1).sum(1), x, region.low, region.high)
        near, patience = norm.size(step), torch.where(oracle.fooled, PATIENCE, state.patience - 1)
        share = near / (near + norm.size(leap)).clamp(min=1e-30)
        alpha = per_row((patience >= 0) * share.clamp(max=self.alpha_max), w)
        mixed = (1 - alpha) * (at + self.eta * step) + alpha * (x + self.eta * leap)
        return state._replace(x_adv=region.clamp(mixed.to(region.x.dtype)), patience=patience)

    def _bisect(self, oracle: Oracle, state: State, i: int) -> State:
        oracle.logits(state.x_adv)
        _, end, low, high, patience = state
        if i == self.steps:  # the last point along the boundary has been judged: from the best to x
            end = oracle.best.x_adv
        else:
            share = (low + high) / 2
            low, high = torch.where(oracle.fooled, low, share), torch.where(oracle.fooled, share, high)
        x = oracle.x.double()
        x_adv = x + per_row((low + high) / 2, x) * (end.double() - x)
        return State(oracle.region.clamp(x_adv.to(oracle.x.dtype)), end, low, high, patience)
