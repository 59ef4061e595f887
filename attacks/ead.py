"""EAD, the elastic-net attack: Chen, Sharma, Zhang, Yi, Hsieh 2017, algorithm 1 (arXiv 1709.04114)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.searches import Search, SearchAttack, linear_weight
from advkit.core.attack import register_attack
from advkit.core.best_points import choose
from advkit.core.door import check_positive
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """FISTA at the slack point, and the bisection for c."""

    x_adv: Tensor  # (M, ...): the slack point y, where the gradient is taken
    point: Tensor  # (M, ...): the last shrunk point
    search: Search
    done: Tensor  # (M,) bool


BACK = 0.95
"""The next search begins at this share of the way from x to the nearest hit."""

LOOKS, LOOKS_AFTER = 10, 3
"""Checks per search before and after its first gain; several steps each, for FISTA's loss does not always fall."""


@register_attack("ead")
@dataclass(frozen=True, kw_only=True)
class EAD(SearchAttack):
    """Minimise `c max(-margin, 0) + |delta|_2^2 + beta |delta|_1` by shrinkage and thresholding (FISTA); bisect for c.

    The nearest point in l1 among all that were tried is kept: the paper's L1 rule. Each row has its own clock: a search
    that does not bring its loss down ends, and the next begins near the nearest hit (the paper begins each at x). A c
    has hit if its search came nearer than those before.

    Cost per sample: at most `searches * steps` queries and gradients.

    Args:
        target: the class to reach, see `Attack`.
        searches: maximum number of values of c.
        steps: maximum number of steps for each value of c.
        step_size: length of the first step of a search; it falls to 0 with the root of the steps left.
        beta: weight of the l1 length, with pixels in units of their range; a pixel that would move by less than this
            in a step does not move.
        c: first weight of the margin; default: 2 margin / |gradient|^2 on the clean image, or the least weight at
            which the steepest pixel moves in the first step.
    """

    norms = ("l1",)
    paper = "Chen et al. 2017, arXiv 1709.04114"

    norm: str = "l1"
    loss: str = "margin"
    step_size: float = 0.01
    beta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("step_size", self.step_size)
        check_positive("beta", self.beta)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        search = self._first_search(oracle)
        return State(oracle.x, oracle.x, search, search.hit)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """One step of FISTA; where it was a search's last, the next begins."""
        region, search, record = oracle.region, state.search, oracle.best.value
        beta = self.beta * region.span
        margin, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        if i == 0 and self.c is None:
            search = search._replace(c=self._first(margin, gradient, beta))
        delta, k = state.x_adv - region.x, per_row(search.k, gradient).to(gradient.dtype)
        length = (delta.abs() * (beta + delta.abs())).flatten(1).sum(1)
        push = per_row(search.c * (margin <= 0), gradient).to(gradient.dtype) * gradient
        gained = oracle.best.value > record
        every = torch.where(search.hit | gained, max(1, self.steps // LOOKS_AFTER), max(1, self.steps // LOOKS))
        search, over = search.updated(length + search.c * (-margin).clamp(min=0), gained, self.steps, every)
        delta = delta - self.step_size * (1 - k / self.steps) ** 0.5 * (2 * delta - push)
        shrunk = region.x + delta.sign() * (delta.abs() - beta).clamp(min=0)
        point = region.clamp(shrunk.to(region.x.dtype))
        slack = region.clamp((point + k / (k + 3) * (point - state.point)).to(region.x.dtype))
        first = torch.lerp(region.x, oracle.best.x_adv, BACK)  # x itself until it is fooled
        begins = State(first, first, search.bisected(), state.done)
        state = choose(over, begins, State(slack, point, search, state.done))
        return state._replace(done=state.search.over(self.searches))

    def _first(self, margin: Tensor, gradient: Tensor, beta: float) -> Tensor:
        """(M,) float64: c for a linear model, or the least c at which the steepest pixel moves in the first step."""
        steepest = gradient.double().flatten(1).abs().amax(1)
        moves = 1.5 * beta / (self.step_size * steepest).clamp(min=1e-30)
        return linear_weight(margin, gradient).maximum(moves).clamp(1e-10, 1e10)
