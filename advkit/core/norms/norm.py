"""`Norm`: what every norm can do with a perturbation (N, ...), row by row."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.frame import frame
from advkit.core.norms.nearest_float import rounded_toward
from advkit.core.norms.row_by_row import per_row, room_toward

Shrinking = Callable[[Tensor, Tensor], Tensor]
"""Points (N, ...) and levels (N,) -> points (N, ...)."""


class Norm(ABC):
    """A norm on the pixels of one image.

    `sparse`: a steepest step moves few entries. `boxed`: the balls are boxes, and so is their part within the range.
    """

    name: str
    grain: float = 0.0
    sparse = False
    boxed = False

    @abstractmethod
    def size(self, d: Tensor) -> Tensor:
        """(N, ...) -> (N,) float64: the norm of each row."""

    @abstractmethod
    def dual_size(self, g: Tensor) -> Tensor:
        """(N, ...) -> (N,) float64: the largest <g, d> over |d| <= 1."""

    @abstractmethod
    def steepest(self, g: Tensor) -> Tensor:
        """Return the d of size 1 with the largest <g, d>; 0 for a row of g that is 0."""

    def ascent(self, g: Tensor, x_adv: Tensor, low: Tensor, high: Tensor, share: float | Tensor) -> Tensor:
        """Return the direction of an iterative step, of size 1; only l1 uses `share`, a number or (M,)."""
        return self.steepest(g)

    def frame(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(c, h, w): an image has h x w places of c entries that count as one; c is 1 except for norms over pixels."""
        channels, height, width = frame(shape)
        return 1, channels * height, width

    def places(self, d: Tensor) -> Tensor:
        """(N, c, h * w): d reshaped to the places of `frame`."""
        channels, height, width = self.frame(tuple(d.shape[1:]))
        return d.reshape(len(d), channels, height * width)

    def stride(self, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(N, 1, ...): the length of which the default step size is a fraction."""
        return eps

    @abstractmethod
    def project(self, d: Tensor, eps: Tensor | float) -> Tensor:
        """Return the point in the ball of radius eps that is nearest to d in l2."""

    @abstractmethod
    def sample(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        """Draw from the ball of radius eps uniformly, (N, ...) float64 (l0: uniform entries at uniform places)."""

    def start(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        """Return a random start for an attack, (N, ...) float64: `sample` in a ball of uniformly random radius <= eps.

        Except for linf, a uniform sample of the whole ball would lie near the surface, where nearly all of the volume
        of a high-dimensional ball is. Attacks that begin there fool fewer samples.
        """
        return self.sample(like, eps, draws, step) * per_row(draws.uniform(step, (1,), stream=3).squeeze(1), like)

    def far(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        """Return a random point on the surface of the ball, (N, ...) float64; for l1 one with few entries."""
        d = self.sample(like, 1.0, draws, step)
        return d * (eps / per_row(self.size(d).clamp(min=1e-300), like))

    @abstractmethod
    def maximise(self, g: Tensor, x: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the x_adv with the largest <g, x_adv - x> over |x_adv - x| <= eps and low <= x_adv <= high.

        [low, high] lies within `reach` of x; the result is exact for linf, and float64 to be rounded for the others.
        """

    @abstractmethod
    def rise(self, slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
        """Return the smallest e, 0 <= e <= room, with <slope, e> >= need; room where that is not enough.

        slope and room (N, D) float64 >= 0, need (N, 1) float64 >= 0.
        """

    def across(self, g: Tensor, need: Tensor, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(N, ...) float64: the smallest d with <g, d> = need, low <= x + d <= high; the nearest to it in the box.

        need (N,) float64, of either sign.
        """
        g = g.double() * per_row(torch.where(need < 0, -1.0, 1.0), g)
        moves = self.rise(g.flatten(1).abs(), room_toward(g, x, low, high).clamp(min=0), need.abs()[:, None])
        return moves.view_as(g) * g.sign()

    def reach(self, eps: Tensor) -> Tensor:
        """Return the largest |d_i| in the ball of radius eps."""
        return eps

    def ceiling(self, slope: Tensor, room: Tensor, eps: Tensor) -> Tensor:
        """(N,): an upper bound of <slope, d> over |d| <= eps and 0 <= d <= room, tight up to rounding.

        `maximise` finds the point; this bounds the value from above, however that search rounds.

        Args:
            slope: coefficients (N, D) float64, all >= 0.
            room: largest value of every entry (N, D) float64, all >= 0, within `reach` of 0.
            eps: the radii (N,) float64.
        """
        return (slope * room).sum(1)

    def pull(self, x: Tensor, x_adv: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Move x_adv into the ball around x, up to the rounding of its type; clamping it afterwards keeps it there."""
        return (x + self.project(x_adv - x, eps)).to(x.dtype)

    @abstractmethod
    def prox(self, d: Tensor, t: Tensor) -> Tensor:
        """Return the u with the least t |u| + |u - d|^2 / 2, the second size being l2; t (N, 1, ...) >= 0.

        In place of a count: of the sum of the places' l2 lengths to the power 2/3, which small steps can lower.
        """

    def shrinking(self, x: Tensor, x_adv: Tensor, low: Tensor, high: Tensor) -> Shrinking:
        """`at(point, level)` moves a point (N, ...) toward x in this norm and into the box; at level 0 to x_adv's size.

        At level 1 (N,) it is x. <b, at(point + s b, level)> rises with s.
        """
        size = per_row(self.size(x_adv - x), x)

        def at(point: Tensor, level: Tensor) -> Tensor:
            return torch.clamp(x + self.project(point - x, per_row(1 - level, x) * size), low, high)

        return at

    def within(self, x: Tensor, x_adv: Tensor, eps: Tensor) -> Tensor:
        """Convert x_adv to x's type, inside the ball as measured in float64; rows that are inside do not change."""
        near = x_adv.to(x.dtype)
        landed = rounded_toward(x, x.double() + self.project(x_adv.double() - x.double(), eps))
        inside = self.size(near.double() - x.double()) <= eps.flatten()
        return torch.where(inside.view(eps.shape), near, landed)

    def __repr__(self) -> str:
        return self.name
