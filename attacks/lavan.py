"""LaVAN, localised and visible adversarial noise: Karmon, Zoran, Goldberg 2018 (arXiv 1801.02608)."""

import math
from dataclasses import dataclass

import torch

from advkit.attacks.around.masked import MaskedThreat
from advkit.attacks.parts.placing import check_place, corner, side_of
from advkit.attacks.parts.steps import State, StepAttack
from advkit.core.attack import register_attack
from advkit.core.door import check_share
from advkit.core.driver import Problem
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.oracle import Oracle


@register_attack("lavan")
@dataclass(frozen=True, kw_only=True)
class LaVAN(StepAttack):
    """Any noise in one small square of each image, by steps along the gradient's signs; nothing else changes.

    The square lies still: it is a hole in the image's defences rather than a sticker that works anywhere, which `patch`
    looks for. eps is infinite by default, and `distance` says how far the pixels changed in linf.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        loss: the loss that the steps increase; default: the margin of the class to reach over y, as in the paper.
        size: area of the square as a share of the image's area; the paper uses 2 %.
        place: "random" (drawn for each sample), "centre", "top_left", "top_right", "bottom_left" or "bottom_right".
        steps: the number of steps.
        step_size: length of a step in units of the pixels; default: 5 times the range divided by `steps`, which is the
            paper's .05 at 100 steps.
    """

    norms = ("linf",)
    paper = "Karmon et al. 2018, arXiv 1801.02608"
    stays_inside = True
    total_length = 5.0

    eps: float | None = math.inf
    loss: str = "margin"
    size: float = 0.02
    place: str = "random"
    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("size", self.size)
        check_place(self.place)

    @property
    def deterministic(self) -> bool:
        """Unless the place is drawn."""
        return super().deterministic and self.place != "random"

    def _arrange(self, model: Model, problem: Problem) -> tuple[Model, Problem]:
        x = problem.x
        if x.ndim != 4:
            raise InputError(f"lavan changes a square of images (N, C, H, W), got images of shape {tuple(x.shape[1:])}")
        height, width = x.shape[2:]
        side = side_of(self.size, height, width)
        row, column = (edge.view(-1, 1, 1, 1) for edge in corner(self.place, problem.draws, height, width, side))
        down, right = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
        mask = (down >= row) & (down < row + side) & (right >= column) & (right < column + side)
        whole = problem.threat
        threat = MaskedThreat(whole.norm, whole.eps, whole.bounds, whole=whole, mask=mask.expand_as(x))
        return model, problem._replace(threat=threat)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        return State(oracle.x, self.length(oracle))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """x <- clamp(x + step_size * sign(grad J)) in the square."""
        gradient = oracle.gradient(state.x_adv, self.loss)
        return state._replace(x_adv=oracle.region.step(state.x_adv, gradient, state.length))
