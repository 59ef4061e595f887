"""FMN, fast minimum-norm attack: Pintor, Roli, Brendel, Biggio 2021, algorithm 1 (arXiv 2102.12827)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.steps import MinimalStepAttack
from advkit.core.attack import register_attack
from advkit.core.door import check_between, check_positive
from advkit.core.norms import Norm, get_norm, per_row
from advkit.core.oracle import Oracle

LATE, LOOKS = 0.7, 10
"""From the share LATE of the steps on, a row whose distance falls too little between two looks leaves, see `gain`."""


class State(NamedTuple):
    """A point of the ball of radius eps."""

    x_adv: Tensor  # (M, ...)
    eps: Tensor  # (M,) float64
    most: Tensor  # (M,) float64: the distance of the farthest point in range
    nearest: Tensor  # (M,) float64: the least distance of a hit, inf without one
    before: Tensor  # (M,) float64: the same at the last look
    done: Tensor  # (M,) bool


@register_attack("fmn")
@dataclass(frozen=True, kw_only=True)
class FMN(MinimalStepAttack):
    """Steps along the gradient within a ball whose radius shrinks after a hit and grows after a miss.

    A point within the ball is stretched to its surface, as the authors' code does in l2: late steps are too short to
    get there, and a miss would be followed by a miss. A count has no surface.

    Until the first hit the radius is the distance at which the linearised margin is 0, and a share more: without it a
    linear model is never crossed. The step and the share by which the radius changes fall on half a cosine. Towards the
    end, a row that gains next to nothing leaves, see `gain`; the paper makes every step.

    Cost per sample: at most `steps` gradients and `steps` + 1 queries.

    Args:
        norm: "l0", "l0_pixels", "l1", "l2" or "linf".
        target: the class to reach, see `Attack`.
        loss: the loss that the steps increase.
        steps: the number of steps.
        step_size: l2 length of the first step, with pixels in units of their range; the last is a hundredth of it.
        gamma: share by which the radius changes in the first step.
        gamma_final: share by which the radius changes in the last step.
        gain: share in [0, 1] by which a tenth of the steps has to shorten the distance, or the sample is done. It is
            looked at in the last three tenths; 0 makes every step.
    """

    norms = ("l2", "linf", "l1", "l0", "l0_pixels")
    stays_inside = True
    paper = "Pintor et al. 2021, arXiv 2102.12827"

    norm: str = "l2"
    loss: str = "margin"
    step_size: float = 1.0
    gamma: float = 0.05
    gamma_final: float = 0.001
    gain: float = 0.002

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("step_size", "gamma", "gamma_final"):
            check_positive(name, getattr(self, name))
        check_between("gain", self.gain, 0, 1)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        x, low, high = oracle.x.double(), oracle.region.low.double(), oracle.region.high.double()
        most = oracle.region.norm.size(torch.maximum(x - low, high - x))
        never = most + torch.inf
        return State(oracle.x, torch.zeros_like(most), most, never, never, torch.zeros_like(oracle.fooled))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """x + delta, delta <- the point of size eps in the direction of Proj_eps(delta + alpha g / |g|_2)."""
        region, norm = oracle.region, oracle.region.norm
        margin, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        cosine = (1 + math.cos(math.pi * i / self.steps)) / 2
        alpha = self.step_size * region.span * (0.01 + 0.99 * cosine)
        gamma = self.gamma_final + (self.gamma - self.gamma_final) * cosine
        distance, fooled = region.gauge(state.x_adv), oracle.fooled
        nearest = torch.where(fooled, state.nearest.minimum(distance), state.nearest)
        hit = (state.eps * (1 - gamma)).minimum(nearest)
        if norm.grain:  # a count says no length: it grows, by one at the least
            missed = (state.eps * (1 + gamma)).maximum(state.eps + norm.grain)
            hit = hit.minimum(state.eps - norm.grain).clamp(min=0)
        else:
            reach = (distance + _to_boundary(norm, margin, gradient)).maximum(state.eps)
            missed = (1 + gamma) * torch.where(nearest == torch.inf, reach, state.eps)
        eps = torch.where(fooled, hit, missed).minimum(state.most)
        ahead = torch.add(state.x_adv, get_norm("l2").steepest(gradient), alpha=alpha)
        delta = norm.project(ahead - region.x, per_row(eps, region.x))
        x_adv = region.clamp(_onto_sphere(norm, region.x, delta, eps).to(region.x.dtype))
        return self._look(state._replace(x_adv=x_adv, eps=eps, nearest=nearest), i)

    def _look(self, state: State, i: int) -> State:
        if not self.gain or i % max(self.steps // LOOKS, 1):
            return state
        if i < LATE * self.steps:
            return state._replace(before=state.nearest)
        done = (state.nearest < torch.inf) & (state.nearest >= (1 - self.gain) * state.before)
        return state._replace(before=state.nearest, done=done)


def _onto_sphere(norm: Norm, x: Tensor, delta: Tensor, eps: Tensor) -> Tensor:
    """x + delta, where the rows of delta, at most eps (M,) long, are stretched to that length."""
    if norm.grain:
        return x + delta
    factor = (eps / norm.size(delta).clamp_(min=1e-30)).clamp_(1, 1e4)  # of delta = 0 nothing comes
    return torch.addcmul(x, delta, per_row(factor, delta).to(delta.dtype))


def _to_boundary(norm: Norm, margin: Tensor, gradient: Tensor) -> Tensor:
    """(M,) float64: the distance at which the linearised margin is 0; 0 where there is no gradient."""
    slope = norm.dual_size(gradient).double()
    return (margin.abs() / slope).nan_to_num(0.0, posinf=0.0)
