"""SuperDeepFool: Abdollahpour, Abroshan, Moosavi-Dezfooli 2023, SDF(inf, 1) (arXiv 2303.12481)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.deepfool import HOLD_FROM
from advkit.attacks.parts.nearest import onto_boundary
from advkit.attacks.parts.steps import MinimalStepAttack
from advkit.attacks.superdeepfool import newton
from advkit.core.attack import register_attack
from advkit.core.door import check_count, check_positive
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle

CUSHION = 1e-3
"""A step goes further by this share of the whole move, so that projections cross a curved boundary."""


class State(NamedTuple):
    """A point on its way to the boundary, along it, or on the way back."""

    x_adv: Tensor  # (M, ...)
    since: Tensor  # (M,) int64: steps of DeepFool since the last projection
    turns: Tensor  # (M,) int64: projections made
    base: Tensor  # (M, ...): where the next projection begins
    back: newton.LineSearch
    done: Tensor  # (M,) bool


@register_attack("superdeepfool")
@dataclass(frozen=True, kw_only=True)
class SuperDeepFool(MinimalStepAttack):
    """DeepFool to the boundary; the projection of the whole move onto the boundary's normal there; and so on in turn.

    The projection cuts the part of the move that runs along the boundary. The first begins at the clean image, each
    other one where the last one led, as in adv-lib (in the paper at the clean image). Once one leads beyond the
    boundary, or after `turns` of them, the end is sought on the way back to the clean image, by Newton's method within
    a bracket (the paper bisects).

    Cost per sample: 1 query and 1 gradient a step, and `rivals` - 1 gradients more in the first.

    Args:
        target: the class to reach, see `DeepFool`.
        steps: maximum number of steps.
        overshoot: share of each step that is added to cross the boundary, see `DeepFool`.
        rivals: number of rivals of y that are linearised in the first step; later it is the likeliest one.
        turns: maximum number of projections.
        search: maximum number of steps on the way back.
    """

    norms = ("l2",)
    paper = "Abdollahpour et al. 2023, arXiv 2303.12481"
    climbs = False
    needs_classes = True

    norm: str = "l2"
    steps: int = 100
    overshoot: float = 0.02
    rivals: int = 9
    turns: int = 20
    search: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rivals", "turns", "search"):
            check_count(name, getattr(self, name))
        check_positive("overshoot", self.overshoot)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        none = torch.zeros(len(oracle.x), dtype=torch.int64, device=oracle.x.device)
        return State(oracle.x, none, none, oracle.x, newton.no_line_search(oracle), none.bool())

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Each row goes on, turns, or goes back."""
        region, x = oracle.region, state.x_adv
        lead, gradients = oracle.jacobian(x, self.rivals if i == 0 else 1)
        fooled, leader = oracle.fooled, gradients[:, 0]
        normal, move = region.norm.steepest(leader), x - region.x
        if i >= HOLD_FROM:  # before, none of them is late
            late = per_row(state.since >= HOLD_FROM, gradients)
            gradients = torch.where(late, region.free(x, gradients), gradients)
        r = onto_boundary(oracle, lead, gradients, self.overshoot)
        ahead = x + r + region.norm.steepest(r) * per_row(CUSHION * region.norm.size(move).to(r.dtype), r)
        turn = region.clamp((state.base + normal * per_row((move * normal).flatten(1).sum(1), x)).to(x.dtype))
        beyond = fooled & (state.since == 0)
        back = state.back.after(oracle, x, beyond | (state.turns >= self.turns), lead[:, 0], leader)
        x_adv = torch.where(per_row(fooled, x), turn, ahead)
        x_adv = torch.where(per_row(back.steps > 0, x), back.point(region.x), x_adv)
        base = torch.where(per_row(fooled, x), turn, state.base)
        since, x_adv = torch.where(fooled, 0, state.since + 1), region.clamp(x_adv.to(x.dtype))
        done = back.found | (back.steps > self.search)
        return State(x_adv, since, state.turns + fooled, base, back, done)
