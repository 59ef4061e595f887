"""EAD, the elastic-net attack: Chen, Sharma, Zhang, Yi, Hsieh 2017, algorithm 1 (arXiv 1709.04114)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import MinimalAttack, check_count, check_positive, register_attack
from advkit.core.goals import wide
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """FISTA at the slack point, and the bisection for c."""

    x_adv: Tensor  # (M, ...): the slack point y, where the gradient is taken
    point: Tensor  # (M, ...): the last shrunk point
    c: Tensor  # (M,) float64
    low: Tensor  # (M,) float64: the largest c that missed, 0 if none
    high: Tensor  # (M,) float64: the smallest c that hit, inf if none
    hit: Tensor  # (M,) bool: this search has reached the goal


@register_attack("ead")
@dataclass(frozen=True, kw_only=True)
class EAD(MinimalAttack):
    """Minimise `c max(-margin, 0) + |delta|_2^2 + beta |delta|_1` by shrinkage and thresholding (FISTA); bisect for c.

    The nearest point in l1 among all that were tried is kept: the paper's L1 rule.

    Cost per sample: `searches * steps` queries and gradients.

    Args:
        target: see `Attack`.
        searches: the number of values of c.
        steps: for each.
        step_size: of the first step of a search; it falls to 0 with the root of the steps left.
        beta: the weight of the l1 length; what a pixel moves less than this, at a step, is no move.
        c: the first weight of the margin; unless given 2 margin / |gradient|^2 on the clean image, or so
            much that the steepest pixel moves at the first step.
    """

    norms = ("l1",)
    paper = "Chen et al. 2017, arXiv 1709.04114"

    norm: str = "l1"
    loss: str = "margin"
    searches: int = 9
    steps: int = 100
    step_size: float = 0.01
    beta: float = 0.01
    c: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("searches", self.searches)
        check_count("steps", self.steps)
        check_positive("step_size", self.step_size)
        check_positive("beta", self.beta)
        if self.c is not None:
            check_positive("c", self.c)

    @property
    def total_steps(self) -> int:
        """`searches * steps`."""
        return self.searches * self.steps

    def init(self, oracle: Oracle) -> State:
        """The clean image."""
        zero = torch.zeros(len(oracle.x), dtype=torch.float64, device=oracle.x.device)
        return State(oracle.x, oracle.x, zero + (self.c or 0), zero, zero + torch.inf, torch.zeros_like(oracle.fooled))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """One step of FISTA; after `steps` of them the next c, from the clean image."""
        region, k = oracle.region, i % self.steps
        margin, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        if i == 0 and self.c is None:
            flat = wide(gradient).double().flatten(1)
            c = 2 * margin.abs().double() / flat.square().sum(1).clamp(min=1e-30)
            moves = 1.5 * self.beta / (self.step_size * flat.abs().amax(1)).clamp(min=1e-30)
            state = state._replace(c=c.maximum(moves).clamp(1e-10, 1e10))
        state = state._replace(hit=state.hit | oracle.fooled)
        push = per_row(state.c * (margin <= 0), gradient).to(gradient.dtype) * gradient
        descent = 2 * (state.x_adv - region.x) - push
        rate = self.step_size * (1 - k / self.steps) ** 0.5
        delta = state.x_adv - rate * descent - region.x
        shrunk = region.x + delta.sign() * (delta.abs() - self.beta).clamp(min=0)
        point = region.clamp(shrunk.to(region.x.dtype))
        slack = region.clamp((point + k / (k + 3) * (point - state.point)).to(region.x.dtype))
        state = state._replace(x_adv=slack, point=point)
        return self._next_search(oracle, state) if k == self.steps - 1 else state

    def _next_search(self, oracle: Oracle, state: State) -> State:
        high = torch.where(state.hit, state.c.minimum(state.high), state.high)
        low = torch.where(state.hit, state.low, state.c.maximum(state.low))
        c = torch.where(high.isfinite(), (low + high) / 2, 10 * state.c)
        return State(oracle.x, oracle.x, c, low, high, torch.zeros_like(state.hit))
