"""PDPGD, primal-dual proximal gradient descent: Matyasko and Chau 2021, algorithm 1 (arXiv 2106.01538)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.adam import Adam, at_rest
from advkit.attacks.parts.spread import spread_of
from advkit.attacks.parts.steps import MinimalStepAttack
from advkit.core.attack import register_attack
from advkit.core.door import check_count, check_positive
from advkit.core.goals import wide
from advkit.core.norms import Norm, get_norm, per_row
from advkit.core.oracle import Oracle

PRIMAL_END, DUAL_END = 0.01, 0.1
"""The last step lengths over the first: of the point, falling geometrically; of the multiplier, falling linearly."""

MOST = -math.log(1e-6)
"""The largest absolute log of the multipliers' ratio."""

UNIT_END = 0.1
"""The unit of the margin at the end over that at the beginning; it falls geometrically."""

AVERAGE = 0.9
"""Weight of the older multipliers in their running mean."""


class State(NamedTuple):
    """A point, and how much the margin counts beside the distance."""

    x_adv: Tensor  # (M, ...)
    adam: Adam
    multiplier: Tensor  # (M,) float64: the log of lambda_1 over lambda_0
    weight: Tensor  # (M,) float64: the running mean of lambda_1 = 1 - lambda_0
    spread: Tensor  # (M,) float64: the unit of the margin


@register_attack("pdpgd")
@dataclass(frozen=True, kw_only=True)
class PDPGD(MinimalStepAttack):
    """Gradient steps of Adam on the margin, proximal steps on the distance; a multiplier weighs one against the other.

        minimise  lambda_0 |r| + lambda_1 softplus(-margin(x + r)),  lambda_0 + lambda_1 = 1

    lambda_1 rises after a miss and falls after a hit. The proximal step is that of Adam's own metric (Melchior, Joseph,
    Moolekamp 2019, arXiv 1910.10094). For a count of entries or pixels it is that of the sum of their sizes to the
    power 2/3, as in the authors' code: the count's own is a threshold that small steps never cross. The margin is in
    units of the spread of the clean image's logits, as in ALMA, which fall to a tenth of it, where the paper takes the
    margin as it is: a soft penalty finds the way to the boundary, and a sharp one ends close to it.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        norm: "l2", "linf", "l1", "l0" or "l0_pixels".
        target: the class to reach, see `Attack`.
        steps: the number of steps.
        step_size: the largest change of an entry in the first step, as a share of the range; it falls to a hundredth
            of that.
        ratio: first lambda_0 over lambda_1.
        dual_step: the change of log(lambda_1 / lambda_0) in the first step; it falls to a tenth of that.
        proximal_steps: number of iterations that compute one proximal step.
    """

    norms = ("l2", "linf", "l1", "l0", "l0_pixels")
    stays_inside = True
    paper = "Matyasko and Chau 2021, arXiv 2106.01538"
    climbs = False

    norm: str = "l2"
    steps: int = 500
    step_size: float = 0.1
    ratio: float = 0.01
    dual_step: float = 0.1
    proximal_steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("step_size", "ratio", "dual_step"):
            check_positive(name, getattr(self, name))
        check_count("proximal_steps", self.proximal_steps)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        multiplier = oracle.x.new_full((len(oracle.x),), -math.log(self.ratio), dtype=torch.float64)
        return State(oracle.x, at_rest(wide(oracle.x)), multiplier, multiplier.sigmoid(), spread_of(oracle))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """r <- prox(r - alpha Adam(grad softplus(-margin))), then the multipliers; lengths are shares of the range."""
        region = oracle.region
        margin, gradient = oracle.loss_and_gradient(state.x_adv, "margin")
        x, span = wide(region.x), wide(region.high - region.low).clamp(min=1e-12)
        low, high = (wide(region.low) - x) / span, (wide(region.high) - x) / span
        unit = state.spread * UNIT_END ** (i / self.steps)
        push = torch.sigmoid(-margin.double() / unit) / unit
        slope = -per_row(push, gradient).to(x.dtype) * wide(gradient) * span
        adam, k = state.adam.updated(slope), torch.full_like(state.weight, i + 1)
        alpha = self.step_size * PRIMAL_END ** (i / self.steps)
        r = ((wide(state.x_adv) - x) / span - adam.move(k, torch.full_like(state.weight, alpha))).clamp(low, high)
        r = self._prox(region.norm, r, adam.width(k), alpha * (1 / state.weight - 1), low, high)
        multiplier, weight = self._dual(oracle.fooled, state, i)
        x_adv = region.clamp((x + r * span).to(region.x.dtype))
        return State(x_adv, adam, multiplier, weight, state.spread)

    def _prox(self, norm: Norm, r: Tensor, width: Tensor, t: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(M, ...): about the z in the range with the least t |z| + sum_i width_i (z_i - r_i)^2 / 2; t (M,)."""
        widest = get_norm("linf").size(width)
        share, length = (width / per_row(widest, width)).to(r.dtype), per_row(t / widest, r).to(r.dtype)
        z = r
        for _ in range(self.proximal_steps):
            z = norm.prox(z - share * (z - r), length).clamp(low, high)
        return z

    def _dual(self, fooled: Tensor, state: State, i: int) -> tuple[Tensor, Tensor]:
        """The multiplier after a hit or a miss, and the mean weight of the margin."""
        rate = self.dual_step * (1 - (1 - DUAL_END) * i / max(self.steps - 1, 1))
        multiplier = (state.multiplier + torch.where(fooled, -rate, rate)).clamp(-MOST, MOST)
        return multiplier, AVERAGE * state.weight + (1 - AVERAGE) * multiplier.sigmoid()
