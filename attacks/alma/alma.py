"""ALMA, the augmented Lagrangian attack: Rony, Granger, Pedersoli, Ben Ayed 2020 (arXiv 2011.11857)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.alma.lagrangian import Lagrangian
from advkit.attacks.parts.spread import spread_of
from advkit.attacks.parts.steps import MinimalStepAttack
from advkit.core.attack import register_attack
from advkit.core.door import check_count, check_positive
from advkit.core.goals import wide
from advkit.core.norms import get_norm, per_row
from advkit.core.oracle import Oracle

DUAL = {"l2": "l2", "l1": "linf"}
"""The gradient of the norm of delta is the steepest direction of this one at delta."""

FIRST = {"l2": 0.05, "l1": 0.03}
"""Default length of the first step, as a share of the size of the range."""

BEYOND = {"l2": 1.5, "l1": 2.0}
"""The default first step is at most this many times as long as the way to the linear model's boundary."""

LAST = {"l2": 0.01, "l1": 3e-4}
"""Length of the last step over that of the first, for images. In l1 every entry moves by it, and all moves add up."""

FEW = 0.2
"""The last step is at least this over the number of entries, and at most a hundredth: few entries need longer steps."""

REST = {"l2": 0.8, "l1": 1.0}
"""At this share of the steps a row goes back to its nearest adversarial point so far, to come to rest around it."""

FALL = 0.03
"""By this factor, beyond what `LAST` says, the steps of such a row have become shorter at the end."""

TOLERANCE = 1e-5
"""How far beyond the boundary the constraint lies, in units of the margin."""


class State(NamedTuple):
    """RMSprop with momentum on x_adv, and the penalty on the constraint."""

    x_adv: Tensor  # (M, ...)
    square: Tensor  # (M, ...): mean of the squared gradient
    momentum: Tensor  # (M, ...)
    lr: Tensor  # (M,) float64: the first step length
    penalty: Lagrangian
    spread: Tensor  # (M,) float64: the unit of the margin
    unit: Tensor  # (M,) float64: the same, over the range of the pixels
    found: Tensor  # (M,) float64: the step of the first hit


@register_attack("alma")
@dataclass(frozen=True, kw_only=True)
class ALMA(MinimalStepAttack):
    """Minimise the distance under the constraint that the margin is positive, by an augmented Lagrangian in one run.

    The penalty is P2 of the paper. The multiplier is a running mean of its slope; the penalty's weight grows while
    nothing has been found. The margin is measured in units of the spread of the clean image's logits, first less third;
    the paper takes that at every point. For a goal without classes the unit is the margin of the clean image.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        norm: "l2" or "l1".
        target: the class to reach, see `Attack`.
        steps: the number of steps.
        first_distance: length of the first step, in the norm. The default is at most `FIRST` of the range and `BEYOND`
            times the way to the linear model's boundary. The last step is `LAST` of the first, and up to a
            hundredth for inputs of fewer than some hundred entries. In l2 it is `FALL` times that where an adversarial
            point was found before the last fifth of the steps.
        alpha: decay of the running means of gradient, squared gradient and multiplier; .9 suits 1,000 steps.
        look_every: number of steps between two checks of the constraint, after which the penalty may grow.
        tau: the penalty is kept if the constraint has shrunk below this share of its value at the last check.
        gamma: factor by which the penalty grows otherwise.
    """

    norms = ("l2", "l1")
    stays_inside = True
    paper = "Rony et al. 2020, arXiv 2011.11857"

    norm: str = "l2"
    loss: str = "margin"
    first_distance: float | None = None
    alpha: float = 0.5
    look_every: int = 10
    tau: float = 0.95
    gamma: float = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("look_every", self.look_every)
        for name in ("alpha", "tau", "gamma"):
            check_positive(name, getattr(self, name))
        check_positive("first_distance", self.first_distance, optional=True)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        spread, still = spread_of(oracle), torch.zeros_like(wide(oracle.x))
        one = torch.ones_like(spread)
        unit, penalty = spread / oracle.region.span, Lagrangian(one, one, one)
        return State(oracle.x, still + 1, still, one, penalty, spread, unit, one * self.steps)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """One step down |delta| + P2(constraint)."""
        region, turn = oracle.region, int(REST[self.norm] * self.steps)
        if i == turn:
            near = per_row(oracle.best.fooled, state.x_adv)
            state = state._replace(x_adv=torch.where(near, oracle.best.x_adv, state.x_adv))
        margin, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        y = TOLERANCE - margin.double() / state.spread  # the constraint: y < 0
        found = torch.where(oracle.fooled, state.found.clamp(max=i), state.found)
        alpha, every, tau, gamma = self.alpha, self.look_every, self.tau, self.gamma
        penalty = state.penalty.updated(y, found < self.steps, i, alpha=alpha, every=every, tau=tau, gamma=gamma)
        pull = get_norm(DUAL[self.norm]).steepest(state.x_adv - region.x)
        push = per_row(penalty.slope(y) / state.unit, gradient).to(gradient.dtype)
        descent = torch.addcmul(pull, push, gradient, value=-1)  # at x the pull is 0, as in the paper
        square = (alpha * state.square).addcmul_(descent, descent, value=1 - alpha)
        momentum = (alpha * state.momentum).addcdiv_(descent, square.sqrt().add_(1e-8))
        first = state.lr if i else self._first_length(oracle, momentum, margin, gradient)
        late = ((i - found) / (self.steps - found).clamp(min=1)).clamp(min=0)
        last = min(0.01, max(LAST[self.norm], FEW / momentum.shape[1:].numel()))
        length = first * last**late
        if i > turn:
            length = torch.where(found < turn, length * FALL ** ((i - turn) / (self.steps - turn)), length)
        lr = per_row(length, momentum).to(momentum.dtype)
        x_adv = region.clamp(torch.addcmul(state.x_adv.to(lr.dtype), lr, momentum, value=-1).to(region.x.dtype))
        return State(x_adv, square, momentum, first, penalty, state.spread, state.unit, found)

    def _first_length(self, oracle: Oracle, momentum: Tensor, margin: Tensor, gradient: Tensor) -> Tensor:
        """(M,) float64: the step length at which the free entries move by the first distance."""
        region = oracle.region
        moves = region.norm.size(region.free(region.x, -momentum))
        steep = region.norm.dual_size(gradient).double().clamp(min=1e-30)
        linear = BEYOND[self.norm] * margin.double().abs() / steep
        far = (region.widest() * FIRST[self.norm]).minimum(linear)
        return torch.where(moves > 0, (far if self.first_distance is None else self.first_distance) / moves, 0.0)
