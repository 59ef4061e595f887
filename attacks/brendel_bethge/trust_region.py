"""One step along the boundary: Brendel, Rauber, Kuemmerer, Ustyuzhaninov, Bethge 2019, equation 2 (arXiv 1907.01003).

    minimise |x_adv + delta - x|  with  <b, delta> = c,  |delta|_2 <= r,  x_adv + delta in the range

The paper solves its dual in lambda and mu for one sample at a time. With one multiplier, here s, per level of the norm
the nearest point to x_adv is known in closed form: `x_adv + s b` shrunk toward x (`Norm.shrinking`). As <b, delta>
rises with s, both s and the level are found by halving brackets, for all samples at once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.best_points import choose
from advkit.core.large import known_none
from advkit.core.norms import Shrinking, per_row
from advkit.core.threat import Region

LEVELS, ROUNDS = 7, 12
"""How many levels of the norm are tried in a step, and how many multipliers s for each."""

ARRIVED = 1e-3
"""A point that misses the plane by no more than this share of c lies on it."""

MISSED = 0.1
"""A point that falls short of the boundary by this share of c has missed it."""


class Plane(NamedTuple):
    """The linearised boundary: the points x_adv + delta with <b, delta> = c."""

    b: Tensor  # (M, ...), of l2 size 1
    c: Tensor  # (M,)

    def beyond(self, delta: Tensor) -> Tensor:
        """(M,): how far x_adv + delta lies behind it, negative before it."""
        return (self.b * delta).flatten(1).sum(1) - self.c


def nearest_within(region: Region, x_adv: Tensor, plane: Plane, r: Tensor) -> Tensor:
    """Return the point nearest to x on the plane and within r (M,) of x_adv; where there is none, nearer to the plane.

    Args:
        region: the norm, the images and their range.
        x_adv: points (M, ...), float32 or better.
        plane: the boundary as it is seen from x_adv.
        r: radii (M,) of the trust region, in l2.
    """
    at = region.norm.shrinking(region.x.to(x_adv.dtype), x_adv, region.low, region.high)
    found = _shortened(x_adv, region.clamp(x_adv + per_row(plane.c, x_adv) * plane.b), r)
    low, high = torch.zeros_like(r), torch.ones_like(r)
    level = torch.full_like(r, 0.5)
    guess = plane.c
    for _ in range(LEVELS):
        s, point = _landed(at, level, x_adv, plane, guess)
        delta = point - x_adv
        feasible = torch.linalg.vector_norm(delta.flatten(1), dim=1) <= r
        feasible &= plane.beyond(delta) >= -MISSED * plane.c.abs() - 1e-6
        found = choose(feasible, point, found)
        guess = torch.where(feasible, s, guess)
        low, high = torch.where(feasible, level, low), torch.where(feasible, high, level)
        level = torch.where(low > 0, (low + high) / 2, high / 4)
    return found


def _shortened(x_adv: Tensor, point: Tensor, r: Tensor) -> Tensor:
    """The point, or the one on the way to it at distance r (M,)."""
    delta = point - x_adv
    length = torch.linalg.vector_norm(delta.flatten(1), dim=1).clamp(min=torch.finfo(delta.dtype).tiny)
    return x_adv + per_row((r / length).clamp(max=1), delta) * delta


def _landed(shrunk: Shrinking, level: Tensor, x_adv: Tensor, plane: Plane, guess: Tensor) -> tuple[Tensor, Tensor]:
    """The multiplier s (M,) for which `x_adv + s b`, shrunk to this level (M,), lies on the plane, and that point.

    A bracket from 0 to the guess is widened until it holds s, then cut by the secant and by halving in turn. A row that
    has arrived stays: what follows would be decided by rounding.
    """

    def at(s: Tensor) -> Tensor:
        return shrunk(x_adv + per_row(s, x_adv) * plane.b, level)

    a, e = torch.zeros_like(guess), guess
    behind, point = at(a), at(e)
    fa, fe = plane.beyond(behind - x_adv), plane.beyond(point - x_adv)
    close = ARRIVED * plane.c.abs() + torch.finfo(guess.dtype).eps
    for turn in range(ROUNDS):
        open_, moving = fa * fe > 0, fe.abs() > close
        if known_none(moving):
            break
        secant = a - fa * (e - a) / torch.where(fe == fa, 1.0, fe - fa)
        inside = torch.where((fe != fa) & (turn % 3 != 2), secant, (a + e) / 2)
        wider = e + torch.where(fe < 0, 1.0, -1.0) * 3 * (e - a).abs().clamp(min=1e-6)
        s = torch.where(moving, torch.where(open_, wider, inside), e)
        new = at(s)
        fs = plane.beyond(new - x_adv)
        other = moving & ((fs * fe <= 0) | open_)  # s and e enclose the plane, or e is the end that is nearer to it
        a, fa, behind = torch.where(other, e, a), torch.where(other, fe, fa), choose(other, point, behind)
        e, fe, point = s, fs, new
    jump = (fe < -close) & (fa > 0)  # in l0 <b, delta> jumps over the plane: the end beyond it is taken
    return torch.where(jump, a, e), choose(jump, behind, point)
