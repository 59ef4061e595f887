"""The minimiser of f = a + c b in a box for every row of a batch, one trial point a step, every row at its own.

L-BFGS in the subspace of the entries that the box does not hold (Bertsekas 1982), and Armijo's rule along the projected
path. b is the squared length of the way from x, or the length; c may change between minimisations.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.lbfgs import curvature
from advkit.core.best_points import choose
from advkit.core.threat import Region

ARMIJO = 1e-4
"""Share of the predicted decrease that a step must bring."""

TRIALS = 8
"""Maximum number of points that a line search rejects."""


class Box(NamedTuple):
    """The problem in units of the range of a pixel."""

    x: Tensor  # (M, D)
    low: Tensor  # (M, D)
    high: Tensor  # (M, D)
    span: Tensor  # (M, 1): that range

    def inside(self, x_adv: Tensor, loss: Tensor, gradient: Tensor, fooled: Tensor) -> "Iterate":
        """Return the images x_adv (M, ...), and the loss (M,) to be maximised and its gradient (M, ...) there."""
        dtype = self.x.dtype
        point = x_adv.flatten(1).to(dtype) / self.span
        return Iterate(point, -loss.to(dtype), -gradient.flatten(1).to(dtype) * self.span, fooled)

    def outside(self, point: Tensor, like: Tensor) -> Tensor:
        """Return the nearest point of the box to this one (M, D), as images of like's shape and type."""
        return (torch.clamp(point, self.low, self.high) * self.span).view(like.shape).to(like.dtype)


class Iterate(NamedTuple):
    """A point and what is known there."""

    point: Tensor  # (M, D)
    loss: Tensor  # (M,): a, to be minimised
    gradient: Tensor  # (M, D): of a
    fooled: Tensor  # (M,) bool


Length = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(r, the gradient of a), both (M, D) -> b (M,) and its gradient (M, D)."""


def squared(r: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """|r|^2."""
    return torch.linalg.vector_norm(r, dim=1) ** 2, 2 * r


def unsquared(r: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """|r|; at 0, where it has no gradient, the limit along minus `gradient` is used."""
    size = torch.linalg.vector_norm(r, dim=1)
    ahead = torch.where((size > 0)[:, None], r, -gradient)
    return size, torch.nn.functional.normalize(ahead, dim=1)


LENGTHS: dict[bool, Length] = {True: squared, False: unsquared}
"""b, by whether it is squared."""


class Descent(NamedTuple):
    """A line search for each step of a minimisation."""

    now: Iterate  # the last accepted point
    direction: Tensor  # (M, D)
    history: curvature.History
    steps: Tensor  # (M,) int64: steps accepted in this minimisation, -1 before its start has been looked at
    trials: Tensor  # (M,) int64: points rejected since the last accepted one
    length: Tensor  # (M,): of the trial step, in units of the direction

    def updated(
        self, box: Box, b: Length, c: Tensor, new: Iterate, tolerance: float
    ) -> tuple["Descent", Tensor, Tensor]:
        """Return the line search after a look at the trial point, and two (M,) bool: accepted, and f has hardly fallen.

        Args:
            box: the problem to solve.
            b: the length that is weighted by c.
            c: (M,), the weight of the length.
            new: the trial point, with its loss and gradient.
            tolerance: f has hardly fallen if it has fallen by no more than this share.
        """
        now, step = self.now, new.point - self.now.point
        far, pull = b(now.point - box.x, now.gradient)
        far_new, pull_new = b(new.point - box.x, new.gradient)
        before, after = now.loss + c * far, new.loss + c * far_new
        predicted = ((now.gradient + c[:, None] * pull) * step).sum(1)
        begins = self.steps < 0
        accepted = (after <= before + ARMIJO * predicted) | begins
        moved = accepted & ~begins
        parabola = -predicted / (2 * (after - before - predicted))
        shorter = self.length * parabola.nan_to_num(0.1).clamp(0.1, 0.5)
        changes = (new.gradient - now.gradient,) if b is squared else (new.gradient - now.gradient, pull_new - pull)
        descent = self._replace(
            now=choose(accepted, new, now),
            history=curvature.push(self.history, moved, step, *changes),
            steps=self.steps + accepted,
            trials=torch.where(accepted, 0, self.trials + 1),
            length=torch.where(accepted, 1, shorter),
        )
        return descent, accepted, moved & (before - after <= tolerance * before.abs())

    def over(self, accepted: Tensor, flat: Tensor, most: Tensor) -> Tensor:
        """(M,) bool: no further step follows, as this one was `flat`, was the last of `most` (M,), or none is found."""
        return (accepted & (flat | (self.steps >= most))) | (self.trials > TRIALS)

    def again(self, rows: Tensor, start: Iterate, fresh: Tensor, unseen: Tensor) -> "Descent":
        """Return the next minimisation of these rows (M,) bool, from `start`.

        Args:
            rows: (M,) bool, the rows whose last minimisation has ended.
            start: the point at which the next minimisation begins.
            fresh: (M,) bool, True where the curvature found so far is forgotten.
            unseen: (M,) bool, True where the row begins at the next trial point instead, whatever its loss.
        """
        return self._replace(
            now=choose(rows, start, self.now),
            history=self.history._replace(stored=torch.where(fresh, 0, self.history.stored)),
            steps=torch.where(rows, -unseen.long(), self.steps),
            trials=torch.where(rows, 0, self.trials),
            length=torch.where(rows, 1, self.length),
        )

    def trial(self, box: Box, b: Length, c: Tensor, turns: Tensor) -> tuple["Descent", Tensor]:
        """The next trial point (M, D): along a new direction in the rows `turns` (M,) bool, else nearer along the old.

        It may lie outside the box.
        """
        now = self.now
        gradient = now.gradient + c[:, None] * b(now.point - box.x, now.gradient)[1]
        held = ((now.point <= box.low) & (gradient > 0)) | ((now.point >= box.high) & (gradient < 0))
        free = (~held).to(gradient.dtype)
        direction = curvature.direction(self.history, c, gradient, free)
        uphill = (direction * gradient).sum(1, keepdim=True) >= 0
        direction = torch.where(uphill, -gradient * free, direction)
        direction = torch.where(turns[:, None], direction, self.direction)
        return self._replace(direction=direction), now.point + self.length[:, None] * direction


def unit_box(region: Region) -> Box:
    """Return the region in units of the range, in float32 or better."""
    dtype = torch.promote_types(region.x.dtype, torch.float32)
    x, low, high = (t.flatten(1).to(dtype) for t in (region.x, region.low, region.high))
    span = (high - low)[:, :1]
    span = torch.where(span.isfinite(), span, 1)
    return Box(x / span, low / span, high / span, span)


def first_descent(box: Box, memory: int, b: Length) -> Descent:
    """At x, before it has been looked at; `memory` steps are to be remembered."""
    zero, none = box.x.new_zeros(len(box.x)), torch.zeros(len(box.x), dtype=torch.int64, device=box.x.device)
    still = torch.zeros_like(box.x)
    start = Iterate(box.x, zero, still, none.bool())
    return Descent(start, still, curvature.empty(box.x, memory, 2 if b is squared else 3), none - 1, none, zero + 1)
