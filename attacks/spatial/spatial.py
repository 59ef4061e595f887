"""Rotations and translations: Engstrom, Tran, Tsipras, Schmidt, Madry 2017, section 3 (arXiv 1712.02779)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.spatial.motion import grid_point, move
from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.door import check_between, check_count
from advkit.core.errors import InputError, unknown
from advkit.core.oracle import Oracle
from advkit.models.spatial_transformer import precise

SEARCHES = ("grid", "random", "gradient")


class State(NamedTuple):
    """The moved images and how they are moved."""

    x_adv: Tensor  # (M, C, H, W)
    theta: Tensor  # (M, 3): angle, shift to the right, shift down, each from -1 to 1 as a share of the largest


@register_attack("spatial")
@dataclass(frozen=True, kw_only=True)
class Spatial(BudgetAttack):
    """The worst rotation and translation of each image.

    The threat is not an lp ball: eps is infinite by default, and `distance` says how far the pixels changed in linf.
    If you give eps, the moved image is brought into the ball as well. Pixels from beyond the image's edge are
    black: the lower end of `bounds`.

    Cost per sample: "grid": `rotations * shifts**2` + 1 queries; "random": `steps` + 1 queries; "gradient": `steps`
    gradients and `steps` + 2 queries.

    Args:
        rotation: the largest angle in degrees, either way.
        translation: the largest shift as a share of the image's side, each way.
        search: "grid" (every combination), "random" (the worst of `steps` draws), or "gradient" (steps along the sign
            of the loss's gradient in angle and shifts, from a random start).
        rotations: the number of angles of the grid.
        shifts: number of shifts of the grid in each of the two directions.
        steps: number of draws ("random") or steps ("gradient").
        step_size: length of a step of "gradient", as a share of the largest angle and shift.
    """

    norms = ("linf",)
    paper = "Engstrom et al. 2017, arXiv 1712.02779"
    knowledge = "scores"
    starts_at_x = False

    eps: float | None = math.inf
    rotation: float = 30.0
    translation: float = 0.1
    search: str = "grid"
    rotations: int = 31
    shifts: int = 5
    steps: int = 50
    step_size: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search not in SEARCHES:
            raise unknown("search", str(self.search), SEARCHES)
        for name in ("rotations", "shifts", "steps"):
            check_count(name, getattr(self, name))
        for name, most in (("rotation", 180), ("translation", 1), ("step_size", 2)):
            check_between(name, getattr(self, name), 0, most)
        if self.search == "gradient":
            object.__setattr__(self, "knowledge", "gradients")

    @property
    def deterministic(self) -> bool:
        """A grid is."""
        return super().deterministic and self.search == "grid"

    @property
    def total_steps(self) -> int:
        """One a candidate; the last candidate is the verdict's, and a gradient's last step makes one."""
        grid = self.rotations * self.shifts**2
        return {"grid": grid - 1, "random": self.steps - 1, "gradient": self.steps}[self.search]

    def init(self, oracle: Oracle) -> State:
        """Return the first candidate."""
        if oracle.x.ndim != 4:
            raise InputError(f"spatial moves images (N, C, H, W), got images of shape {tuple(oracle.x.shape[1:])}")
        return self._moved(oracle, self._candidate(oracle, 0))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Look at the candidate, and choose the next one."""
        if self.search != "gradient":
            oracle.logits(state.x_adv)
            return self._moved(oracle, self._candidate(oracle, i + 1))
        gradient = oracle.gradient(state.x_adv, self.loss)
        with torch.enable_grad():
            theta = state.theta.detach().requires_grad_()
            gained = (self._moved(oracle, theta).x_adv * gradient).sum()
            (slope,) = torch.autograd.grad(gained, theta)
        return self._moved(oracle, (state.theta + self.step_size * slope.sign()).clamp(-1, 1))

    def _candidate(self, oracle: Oracle, i: int) -> Tensor:
        """(M, 3): the i-th combination of the grid, or a random one."""
        if self.search != "grid":
            return (2 * oracle.draws.uniform(i, (3,)) - 1).to(precise(oracle.x).dtype)
        angle, down, right = grid_point(i, (self.rotations, self.shifts, self.shifts))
        theta = torch.tensor([angle, right, down], dtype=precise(oracle.x).dtype, device=oracle.x.device)
        return theta.expand(len(oracle.x), 3)

    def _moved(self, oracle: Oracle, theta: Tensor) -> State:
        angle, right, down = theta.unbind(1)
        turn, right, down = angle * math.radians(self.rotation), right * self.translation, down * self.translation
        moved = move(oracle.x, turn, right, down, oracle.region.lowest)
        return State(oracle.region.clamp(moved), theta)
