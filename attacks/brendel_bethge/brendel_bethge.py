"""The attack of Brendel, Rauber, Kuemmerer, Ustyuzhaninov, Bethge 2019, sections 3 and 4 (arXiv 1907.01003)."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.brendel_bethge.trust_region import Plane, nearest_within
from advkit.attacks.parts import decision
from advkit.attacks.parts.decision import check_starts
from advkit.core.attack import MinimalAttack, register_attack
from advkit.core.best_points import noise_floor
from advkit.core.door import check_between, check_count, check_positive
from advkit.core.errors import InputError
from advkit.core.goals import wide
from advkit.core.norms import get_norm, per_row
from advkit.core.oracle import Oracle

OVERSHOOT = 0.1
"""A step ends behind the linearised boundary by this share of the distance in logits from which it begins."""


FAR = 0.25
"""Where the walk begins at x, its first radius is taken from this share of the range in every entry."""


class State(NamedTuple):
    """First the way from x to an adversarial point, then the walk along the boundary."""

    x_adv: Tensor  # (M, ...): the query
    end: Tensor  # (M, ...): the adversarial point, x where there is none yet
    found: Tensor  # (M,) bool
    low: Tensor  # (M,) float64: the share of the straight way from x to it that is known not to fool
    high: Tensor  # (M,) float64: that which fools
    boundary: Tensor  # (M, ...): running mean of the gradients of the margin
    far: Tensor  # (M,) float64: l2 distance at which the walk begins


@register_attack("brendel_bethge")
@dataclass(frozen=True, kw_only=True)
class BrendelBethge(MinimalAttack):
    """A walk along the boundary, from far away: each step goes to the point of the linearised boundary nearest to x.

    The step is held to a trust region whose radius falls. The walk begins where the way from x to an adversarial image
    of noise crosses the boundary, and at x where no such image was found. Towards a target noise seldom is one: give
    `starts`, images of that class.

    Cost per sample: `steps` gradients and `tries + search + steps` + 1 queries.

    Args:
        norm: "l2", "linf", "l1", "l0" or "l0_pixels".
        target: the class to reach, see `Attack`.
        steps: number of steps along the boundary.
        radius: first radius of the trust region, as a share of the l2 distance at which the walk begins.
        decay: radius of the last step over that of the first.
        momentum: weight of the older gradients in the running mean.
        tries: number of points that are tried to find a first adversarial one.
        search: minimum number of halvings of the way from x to that point.
        starts: images (K, C, H, W) that are tried first.
    """

    norms = ("l2", "linf", "l1", "l0", "l0_pixels")
    stays_inside = True
    paper = "Brendel et al. 2019, arXiv 1907.01003"
    climbs = False
    deterministic = False
    starts_at_x = False

    norm: str = "l2"
    steps: int = 100
    radius: float = 1.0
    decay: float = 1e-3
    momentum: float = 0.8
    tries: int = 10
    search: int = 10
    starts: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "tries", "search"):
            check_count(name, getattr(self, name))
        check_positive("radius", self.radius)
        check_positive("decay", self.decay)
        if check_between("momentum", self.momentum, 0, 1) == 1:
            raise InputError("expected momentum as a number >= 0 and < 1, got 1")
        check_starts(self.starts)

    @property
    def total_steps(self) -> int:
        """`tries + search + steps`."""
        return self.tries + self.search + self.steps

    def init(self, oracle: Oracle) -> State:
        """Begin with the first point to be tried."""
        zero, none = oracle.x.new_zeros(len(oracle.x), dtype=torch.float64), torch.zeros_like(oracle.fooled)
        first = decision.candidate(oracle, 0, self.starts)
        return State(first, oracle.x, none, zero, zero + 1, torch.zeros_like(wide(oracle.x)), zero)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Ask on the way to a first adversarial point or to the boundary, or take a step along the boundary."""
        begin = self.tries + self.search
        return self._approach(oracle, state, i) if i < begin else self._along(oracle, state, i - begin)

    def _approach(self, oracle: Oracle, state: State, i: int) -> State:
        """The first adversarial point, then the middle of what is left of the straight way from x to it."""
        oracle.logits(state.x_adv)
        middle, fooled, x = (state.low + state.high) / 2, oracle.fooled, oracle.x
        low = torch.where(state.found & ~fooled, middle, state.low)
        high = torch.where(state.found & fooled, middle, state.high)
        end, found = torch.where(per_row(state.found, x), state.end, state.x_adv), state.found | fooled
        end = torch.where(per_row(found, x), end, x)
        last = i == self.tries + self.search - 1
        share = per_row(high if last else (low + high) / 2, x)
        x_adv = oracle.region.clamp((x + share * (end.double() - x)).to(x.dtype))
        if i + 1 < self.tries:
            x_adv = torch.where(per_row(found, x), x_adv, decision.candidate(oracle, i + 1, self.starts))
        away = torch.where(per_row(found, x), x_adv - x, FAR * (oracle.region.high - oracle.region.low))
        far = get_norm("l2").size(away) if last else state.far
        return State(x_adv, end, found, low, high, state.boundary, far)

    def _along(self, oracle: Oracle, state: State, k: int) -> State:
        """min |x~ + delta - x| with <b, delta> = c, |delta|_2 <= r."""
        margin, gradient = oracle.loss_and_gradient(state.x_adv, "margin")
        weight = self.momentum if k else 0.0
        boundary = weight * state.boundary + (1 - weight) * wide(gradient)
        slope = get_norm("l2").size(boundary).clamp(min=torch.finfo(boundary.dtype).tiny)
        gap = torch.where(oracle.fooled, (OVERSHOOT - 1) * margin, -(1 + OVERSHOOT) * margin)
        c = (gap + 2 * noise_floor(oracle.answer)).double() / slope
        r = self.radius * self.decay ** (k / self.steps) * state.far
        plane = Plane(boundary / per_row(slope, boundary).to(boundary.dtype), c.to(boundary.dtype))
        point = nearest_within(oracle.region, wide(state.x_adv), plane, r.to(boundary.dtype))
        return state._replace(x_adv=oracle.region.clamp(point.to(oracle.x.dtype)), boundary=boundary)
