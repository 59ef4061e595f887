"""Sigma-zero: Cina, Villani, Pintor, Schonherr, Biggio, Pelillo 2024, algorithm 1 (arXiv 2402.01879)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.adam import Adam, at_rest
from advkit.attacks.parts.steps import MinimalStepAttack
from advkit.core.attack import register_attack
from advkit.core.door import check_positive
from advkit.core.goals import wide
from advkit.core.norms import Norm, get_norm, per_row
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """A sparse point, and the threshold below which its entries return to x."""

    x_adv: Tensor  # (M, ...)
    tau: Tensor  # (M,) float64, as a share of the range
    adam: Adam


@register_attack("sigma_zero")
@dataclass(frozen=True, kw_only=True)
class SigmaZero(MinimalStepAttack):
    """Steps of Adam down a smooth count of the changed entries plus the missing margin; small changes are then undone.

    The smooth count is `sum d^2 / (d^2 + sigma)`, d^2 being summed over the channels of a pixel where pixels count. The
    threshold rises after a hit and falls after a miss.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        norm: "l0", the number of changed entries, or "l0_pixels", that of changed pixels.
        target: the class to reach, see `Attack`.
        steps: the number of steps.
        step_size: the largest change of an entry in the first step, as a share of the range; it falls to a tenth of
            that on half a cosine.
        sigma: smoothness of the count; a smaller value is closer to the true count.
        tau: the first threshold, as a share of the range.
        tau_step: the change of the threshold in the first step; it falls with the step size.
    """

    norms = ("l0", "l0_pixels")
    stays_inside = True
    paper = "Cina et al. 2024, arXiv 2402.01879"

    norm: str = "l0"
    loss: str = "margin"
    step_size: float = 1.0
    sigma: float = 1e-3
    tau: float = 0.3
    tau_step: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("step_size", "sigma", "tau", "tau_step"):
            check_positive(name, getattr(self, name))

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        tau = oracle.x.new_full((len(oracle.x),), self.tau, dtype=torch.float64)
        return State(oracle.x, tau, at_rest(wide(oracle.x)))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """delta <- Pi_tau(Adam(delta, g / |g|_inf)), g of the smooth count over D plus the missing margin."""
        region = oracle.region
        gradient = oracle.gradient(state.x_adv, self.loss)
        eta = 0.55 + 0.45 * math.cos(math.pi * i / self.steps)  # from 1 to a tenth
        x, span = wide(region.x), wide(region.high - region.low).clamp(min=1e-12)
        delta = (wide(state.x_adv) - x) / span
        g = self._count_slope(region.norm, delta) - torch.where(per_row(oracle.fooled, delta), 0, gradient * span)
        largest = get_norm("linf").size(g).clamp(min=torch.finfo(torch.float32).tiny)
        adam = state.adam.updated(g / per_row(largest, g).to(g.dtype))
        k = torch.full_like(state.tau, i + 1)
        moved = x + (delta - adam.move(k, torch.full_like(state.tau, self.step_size * eta))) * span
        moved = region.clamp(moved.to(region.x.dtype))
        tau = (state.tau + torch.where(oracle.fooled, eta, -eta) * self.tau_step).clamp(0, 1)
        large = region.norm.places((wide(moved) - x).abs() >= per_row(tau, x) * span)
        kept = large.any(1, keepdim=True).expand_as(large).reshape(x.shape)
        return State(torch.where(kept, moved, region.x), tau, adam)

    def _count_slope(self, norm: Norm, delta: Tensor) -> Tensor:
        """The gradient of the smooth count over the number of entries, or of pixels."""
        d = norm.places(delta)
        slope = 2 * self.sigma * d / (d.square().sum(1, keepdim=True) + self.sigma) ** 2 / d.shape[2]
        return slope.reshape(delta.shape)
