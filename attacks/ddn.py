"""DDN, decoupled direction and norm: Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger 2018 (arXiv 1811.09600)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.steps import MinimalStepAttack
from advkit.core.attack import register_attack
from advkit.core.door import check_count, check_positive
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """A point on the sphere of radius eps, cut by the range of the pixels."""

    x_adv: Tensor  # (M, ...)
    eps: Tensor  # (M,)


@register_attack("ddn")
@dataclass(frozen=True, kw_only=True)
class DDN(MinimalStepAttack):
    """Steps along the gradient, each followed by the projection onto a sphere: smaller after a hit, else larger.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        target: the class to reach, see `Attack`.
        loss: the loss that the steps increase.
        steps: number of steps, K in algorithm 1.
        gamma: the share by which the radius grows or shrinks in a step.
        init_norm: the first radius, with pixels in units of their range.
        step_size: length of the first step, with pixels in units of their range; it falls on half a cosine to a
            hundredth of that.
        levels: pixels are rounded to this many values, 256 in the paper; None switches rounding off.
    """

    norms = ("l2",)
    stays_inside = True
    paper = "Rony et al. 2018, arXiv 1811.09600"

    norm: str = "l2"
    gamma: float = 0.05
    init_norm: float = 1.0
    step_size: float = 1.0
    levels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gamma", "init_norm", "step_size"):
            check_positive(name, getattr(self, name))
        if self.levels is not None:
            check_count("levels", self.levels, least=2)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image with the first radius."""
        first = self.init_norm * oracle.region.span
        return State(oracle.x, oracle.x.new_full((len(oracle.x),), first, dtype=torch.float64))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """x + delta, delta <- eps (delta + alpha g / |g|) / |delta + alpha g / |g||."""
        region = oracle.region
        gradient = oracle.gradient(state.x_adv, self.loss)
        alpha = self.step_size * region.span * (0.01 + 0.99 * (1 + math.cos(math.pi * i / self.steps)) / 2)
        delta = torch.add(state.x_adv - region.x, region.norm.steepest(gradient), alpha=alpha)
        eps = torch.where(oracle.fooled, state.eps * (1 - self.gamma), state.eps * (1 + self.gamma))
        size = region.norm.size(delta).clamp_(min=torch.finfo(torch.float32).tiny)
        scale = per_row((eps / size).to(delta.dtype), delta)
        x_adv = torch.addcmul(region.x.to(delta.dtype), delta, scale).to(region.x.dtype)
        return State(self._rounded(oracle, region.clamp(x_adv)), eps)

    def _rounded(self, oracle: Oracle, x_adv: Tensor) -> Tensor:
        if self.levels is None:
            return x_adv
        low, high = oracle.region.low, oracle.region.high
        grid = (high - low) / (self.levels - 1)
        return oracle.region.clamp(low + ((x_adv - low) / grid).round() * grid)
