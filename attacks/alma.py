"""ALMA, the augmented Lagrangian attack: Rony, Granger, Pedersoli, Ben Ayed 2020 (arXiv 2011.11857)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import MinimalAttack, check_count, check_positive, register_attack
from advkit.core.goals import wide
from advkit.core.norms import get_norm, per_row
from advkit.core.oracle import Oracle

DUAL = {"l2": "l2", "l1": "linf"}
"""The gradient of the norm of delta is the steepest direction of this one at delta."""

FIRST = {"l2": 1 / 32, "l1": 0.03}
"""How far the first step goes unless told, as a share of the size of the range."""

TOLERANCE = 1e-4
"""How far beyond the boundary the constraint lies, in logits."""


class State(NamedTuple):
    """RMSprop with momentum on x_adv, and the Lagrangian's two coefficients."""

    x_adv: Tensor  # (M, ...)
    square: Tensor  # (M, ...): mean of the squared gradient
    momentum: Tensor  # (M, ...)
    lr: Tensor  # (M,) float64: the first step length
    mu: Tensor  # (M,) float64: the multiplier
    rho: Tensor  # (M,) float64: the penalty
    spread: Tensor  # (M,) float64: the unit of the margin
    before: Tensor  # (M,) float64: the constraint at the last look
    found: Tensor  # (M,) float64: the step of the first hit


@register_attack("alma")
@dataclass(frozen=True, kw_only=True)
class ALMA(MinimalAttack):
    """Minimise the distance under the constraint that the margin is positive, by an augmented Lagrangian in one run.

    The penalty is P2 of the paper. The multiplier is a running mean of its slope; the penalty's weight grows while
    nothing has been found. The margin is measured in units of the spread of the clean image's logits, first less third;
    the paper takes that at every point.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        norm: "l2" or "l1".
        target: see `Attack`.
        steps: the number of steps.
        first_distance: how far the first step goes, in the norm; the last step is a hundredth of it. See `FIRST`.
        alpha: what stays of the mean gradient, its square, and the multiplier at a step; .9 suits 1,000 steps.
        look_every: the penalty grows at every so many steps.
        tau: unless the constraint has fallen to this share.
        gamma: by this factor.
    """

    norms = ("l2", "l1")
    paper = "Rony et al. 2020, arXiv 2011.11857"

    norm: str = "l2"
    loss: str = "margin"
    steps: int = 100
    first_distance: float | None = None
    alpha: float = 0.5
    look_every: int = 10
    tau: float = 0.95
    gamma: float = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_count("look_every", self.look_every)
        for name in ("alpha", "tau", "gamma"):
            check_positive(name, getattr(self, name))
        if self.first_distance is not None:
            check_positive("first_distance", self.first_distance)

    @property
    def total_steps(self) -> int:
        """`steps`."""
        return self.steps

    def init(self, oracle: Oracle) -> State:
        """The clean image."""
        ranked = wide(oracle.best.logits).double().topk(min(3, oracle.best.logits.shape[1]), dim=1).values
        one, still = torch.ones_like(ranked[:, 0]), torch.zeros_like(wide(oracle.x))
        spread = (ranked[:, 0] - ranked[:, -1]).clamp(min=1e-8)
        return State(oracle.x, still + 1, still, one, one, one, spread, one, one * self.steps)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """One step down |delta| + P2(constraint)."""
        region = oracle.region
        margin, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        y = (TOLERANCE - margin.double()) / state.spread  # the constraint: y < 0
        state = self._multipliers(state, y, oracle.fooled, i)
        pull = get_norm(DUAL[self.norm]).steepest(state.x_adv - region.x)
        push = per_row(_slope(y, state.mu, state.rho) / state.spread, gradient).to(gradient.dtype) * gradient
        descent = pull - push  # at x the first term is 0, as in the paper's first step
        square = self.alpha * state.square + (1 - self.alpha) * descent**2
        momentum = self.alpha * state.momentum + descent / (square.sqrt() + 1e-8)
        if i == 0:
            state = state._replace(lr=self._first_length(oracle, momentum, margin, gradient))
        late = ((i - state.found) / (self.steps - state.found).clamp(min=1)).clamp(min=0)
        lr = per_row(state.lr * 0.01**late, momentum).to(momentum.dtype)
        x_adv = region.clamp((state.x_adv - lr * momentum).to(region.x.dtype))
        return state._replace(x_adv=x_adv, square=square, momentum=momentum)

    def _multipliers(self, state: State, y: Tensor, fooled: Tensor, i: int) -> State:
        found = torch.where(fooled, state.found.clamp(max=i), state.found)
        if i == 0:
            return state._replace(before=y, found=found)
        rho, before = state.rho, state.before
        if (i + 1) % self.look_every == 0:
            rho = torch.where((found < self.steps) | (y < self.tau * before), rho, self.gamma * rho)
            before = y
        mu = self.alpha * state.mu + (1 - self.alpha) * _slope(y, state.mu, rho)
        return state._replace(mu=mu.clamp(1e-6, 1e12), rho=rho, before=before, found=found)

    def _first_length(self, oracle: Oracle, momentum: Tensor, margin: Tensor, gradient: Tensor) -> Tensor:
        """(M,) float64: the step length at which the free entries move by the first distance."""
        region = oracle.region
        low, high, x = region.low.double(), region.high.double(), region.x.double()
        room = torch.where(momentum > 0, x - low, high - x)
        moves = region.norm.size(torch.where(room > 0, momentum, 0))
        if self.first_distance is None:  # half as far again as the linear model's boundary
            steep = region.norm.dual_size(gradient).double().clamp(min=1e-30)
            far = (region.norm.size(high - low) * FIRST[self.norm]).minimum(1.5 * margin.double().abs() / steep)
        else:
            far = torch.full_like(moves, self.first_distance)
        return torch.where(moves > 0, far / moves, 0.0)


def _slope(y: Tensor, mu: Tensor, rho: Tensor) -> Tensor:
    """The derivative by y of P2: mu y + mu rho y^2 + rho^2 y^3 / 6 above 0, mu y / (1 - rho y) below."""
    above = mu + 2 * mu * rho * y + rho**2 * y**2 / 2
    return torch.where(y >= 0, above, mu / (1 - rho * y.clamp(max=0)) ** 2)
