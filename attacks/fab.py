"""FAB, fast adaptive boundary attack: Croce and Hein 2019, algorithm 1 (arXiv 1907.02044)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks._nearest import nearest
from advkit.core.attack import MinimalAttack, check_count, check_positive, register_attack
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle, noise_floor

BACK = 0.9
"""The bisection goes back to this share of the way at the most."""

GIVE_UP = 0.4
"""After this share of the steps x has no weight where nothing has hit: it can hold a point before the boundary."""


class State(NamedTuple):
    """A point near the boundary."""

    x_adv: Tensor  # (M, ...)
    end: Tensor  # (M, ...): the best point when the bisection begins
    low: Tensor  # (M,) float64: the share of the way from x to it that is taken not to fool
    high: Tensor  # (M,) float64: that which fools


@register_attack("fab")
@dataclass(frozen=True, kw_only=True)
class FAB(MinimalAttack):
    """Mix of two projections onto the nearest linearised boundary, box included: of the latest point and of x itself.

    The boundary lies where the lead is more than rounding may feign. After a hit the point is first pulled back toward
    x; the paper classifies it there once more, here the linear model at the hit serves, so a step is one pass. Where
    nothing has hit for long, x loses its weight, see `GIVE_UP`. The last steps bisect the end of the way from x to the
    nearest hit.

    Cost per sample: `steps + search` queries, a query's gradient being one for each of the `rivals`.

    Args:
        norm: "linf", "l2" or "l1".
        target: towards one the only boundary is that with the likeliest other class: one gradient a step.
        steps: the number of steps.
        rivals: how many of the likeliest classes are linearised; a number of classes or more: all, as in the paper.
            With many classes a few, or 1, are the affordable form.
        alpha_max: the largest weight of x's projection.
        eta: how far the projections go, 1 being the linearised boundary.
        beta: what stays of the move after a hit.
        search: the number of bisections at the end.
    """

    norms = ("linf", "l2", "l1")
    paper = "Croce and Hein 2019, arXiv 1907.02044"

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
        """The clean image."""
        one = torch.ones(len(oracle.x), dtype=torch.float64, device=oracle.x.device)
        return State(oracle.x, oracle.x, BACK * one, one)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """A step along the boundary, or one of the bisections at the end."""
        if i < self.steps:
            lead, gradients = oracle.jacobian(state.x_adv, self.rivals)
            return state._replace(x_adv=self._along(oracle, state.x_adv, lead, gradients, i))
        return self._bisect(oracle, state, i)

    def _along(self, oracle: Oracle, x_adv: Tensor, lead: Tensor, gradients: Tensor, i: int) -> Tensor:
        region, norm = oracle.region, oracle.region.norm
        boundary = nearest(norm, lead, gradients)
        w = boundary.gradient.double()
        short = 2 * noise_floor(oracle.answer).double() - boundary.lead.double()
        level = (w * x_adv.double()).flatten(1).sum(1) + short  # the boundary: <w, z> = level
        keep = per_row(torch.where(oracle.fooled, self.beta, 1.0).double(), w)
        x, at = region.x.double(), region.x + keep * (x_adv.double() - region.x)
        step = norm.across(w, level - (w * at).flatten(1).sum(1), at, region.low, region.high)
        leap = norm.across(w, level - (w * x).flatten(1).sum(1), x, region.low, region.high)
        near, weighs = norm.size(step), oracle.best.fooled | (i < GIVE_UP * self.steps)
        alpha = per_row(weighs * (near / (near + norm.size(leap)).clamp(min=1e-30)).clamp(max=self.alpha_max), w)
        mixed = (1 - alpha) * (at + self.eta * step) + alpha * (x + self.eta * leap)
        return region.clamp(mixed.to(region.x.dtype))

    def _bisect(self, oracle: Oracle, state: State, i: int) -> State:
        oracle.logits(state.x_adv)
        _, end, low, high = state
        if i == self.steps:  # the last point along the boundary has been judged: from the best to x
            end = oracle.best.x_adv
        else:
            share = (low + high) / 2
            low, high = torch.where(oracle.fooled, low, share), torch.where(oracle.fooled, share, high)
        x = oracle.x.double()
        x_adv = x + per_row((low + high) / 2, x) * (end.double() - x)
        return State(oracle.region.clamp(x_adv.to(oracle.x.dtype)), end, low, high)
