"""DeepFool: Moosavi-Dezfooli, Fawzi, Frossard 2015, algorithm 2 and section 3.2 (arXiv 1511.04599)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.nearest import onto_boundary
from advkit.attacks.parts.steps import MinimalStepAttack
from advkit.core.attack import register_attack
from advkit.core.door import check_count, check_positive
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """The latest point."""

    x_adv: Tensor  # (M, ...)
    done: Tensor  # (M,) bool


HOLD_FROM = 6
"""From this step on, pixels that the range holds back are left out; otherwise some samples would never cross."""


@register_attack("deepfool")
@dataclass(frozen=True, kw_only=True)
class DeepFool(MinimalStepAttack):
    """Step onto the nearest boundary of the linearised classifier, and a little beyond, until the class changes.

    A sample leaves as soon as it has crossed. Only the likeliest rivals are linearised: the nearest boundary is rarely
    another's, and each costs a gradient.

    Cost per sample: 1 query and 3 gradients a step, 7 gradients in the first; some 3 to 10 steps.

    Args:
        norm: "l2" or "linf".
        target: the class to reach; only its boundary with the likeliest other class then counts. The paper has none.
        steps: maximum number of steps.
        overshoot: share of each step that is added to cross the boundary.
        rivals: number of rivals of y that are linearised in the first step; later steps use a third of them.
    """

    norms = ("l2", "linf")
    paper = "Moosavi-Dezfooli et al. 2015, arXiv 1511.04599"
    climbs = False
    needs_classes = True

    norm: str = "l2"
    steps: int = 50
    overshoot: float = 0.02
    rivals: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("rivals", self.rivals)
        check_positive("overshoot", self.overshoot)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        return State(oracle.x, torch.zeros_like(oracle.fooled))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """x <- x + (1 + overshoot) r, r the least move onto a boundary of the linear model."""
        region, x = oracle.region, state.x_adv
        lead, gradients = oracle.jacobian(x, self.rivals if i == 0 else -(-self.rivals // 3))
        if i >= HOLD_FROM:
            gradients = region.free(x, gradients)
        r = onto_boundary(oracle, lead, gradients, self.overshoot)
        return State(region.clamp((x + r).to(x.dtype)), oracle.fooled)
