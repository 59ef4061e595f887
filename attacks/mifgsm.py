"""MI-FGSM, the momentum iterative method: Dong et al. 2017, algorithm 1 (arXiv 1710.06081)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.steps import StepAttack
from advkit.core.attack import register_attack
from advkit.core.door import check_between
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """The point and the velocity with which it was reached."""

    x_adv: Tensor  # (M, ...)
    velocity: Tensor  # (M, ...)
    length: Tensor  # (M, 1, ...): of a step


@register_attack("mifgsm")
@dataclass(frozen=True, kw_only=True)
class MIFGSM(StepAttack):
    """Steps along a decaying sum of gradients, each of which is first scaled to l1 size 1, sample by sample.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        steps: the number of steps.
        step_size: length of a step in units of the pixels; default: 1.25 * eps / steps. The paper's eps / steps reaches
            the edge of the ball only if the range of the pixels takes nothing from any step.
        decay: the share of the velocity that is kept from step to step; 0 makes it an iterated FGSM.
    """

    paper = "Dong et al. 2017, arXiv 1710.06081"
    stays_inside = True
    total_length = 1.25

    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("decay", self.decay, 0, math.inf)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image, at rest."""
        return State(oracle.x, torch.zeros_like(oracle.x), self.length(oracle))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """g <- mu * g + grad J / |grad J|_1; x <- Proj(x + alpha * steepest(g))."""
        gradient = oracle.gradient(state.x_adv, self.loss)
        g = torch.add(unit_l1(gradient), state.velocity, alpha=self.decay)
        return State(oracle.region.step(state.x_adv, g, state.length), g, state.length)


def unit_l1(g: Tensor) -> Tensor:
    """Rows scaled to l1 size 1, zero rows kept; summed in float64, where nothing under- or overflows."""
    info = torch.finfo(torch.promote_types(g.dtype, torch.float32))
    size = torch.linalg.vector_norm(g.flatten(1), 1, dim=1, dtype=torch.float64).clamp_(info.tiny, info.max)
    return (g / per_row(size, g).to(torch.promote_types(g.dtype, torch.float32))).to(g.dtype)
