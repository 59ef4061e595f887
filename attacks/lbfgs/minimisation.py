"""The minimiser of f = a + c b in a box for every row of a batch, one trial point a step, every row at its own.

L-BFGS in the subspace of the entries that the box does not hold (Bertsekas 1982), and Armijo's rule along the projected
path. b is the squared length of the way from x, or the length; c may change between minimisations.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.lbfgs import curvature
from advkit.core.best_points import choose
from advkit.core.large import known_none
from advkit.core.threat import Region

ARMIJO = 1e-4
"""Share of the predicted decrease that a step must bring."""

TRIALS = 8
"""Maximum number of points that a line search rejects."""


class Length(NamedTuple):
    """b, a function of the way r (M, D) from x."""

    power: int  # of |r|

    def of(self, r: Tensor) -> Tensor:
        """b (M,)."""
        size: Tensor = torch.linalg.vector_norm(r, dim=1)
        return size**self.power

    def gradient(self, r: Tensor, ahead: Tensor) -> Tensor:
        """Its gradient (M, D); |r| has none at 0, where the limit along minus `ahead` (M, D) is used."""
        if self.power == 2:
            return 2 * r
        moved = torch.linalg.vector_norm(r, dim=1, keepdim=True) > 0
        return torch.nn.functional.normalize(torch.where(moved, r, -ahead), dim=1)


LENGTHS = {True: Length(2), False: Length(1)}
"""b, by whether it is squared."""


class Iterate(NamedTuple):
    """A point and what is known there."""

    point: Tensor  # (M, D)
    r: Tensor  # (M, D): the way to it from x
    loss: Tensor  # (M,): a, to be minimised
    gradient: Tensor  # (M, D): of a
    answer: Tensor  # (M, K): of the model

    def f(self, b: Length, c: Tensor) -> Tensor:
        """Return the objective a + c b (M,), with the weights c (M,)."""
        return torch.addcmul(self.loss, c, b.of(self.r))


class Box(NamedTuple):
    """The problem in units of the range of a pixel and of the loss."""

    x: Tensor  # (M, D)
    low: Tensor  # (M, D)
    high: Tensor  # (M, D)
    span: Tensor  # (M, 1): that range
    worth: Tensor  # (M,): minus one over the unit of the loss: what makes of a loss to be maximised the a of f
    slope: Tensor  # (M, 1): the same of a gradient

    def inside(self, x_adv: Tensor, loss: Tensor, gradient: Tensor, answer: Tensor) -> Iterate:
        """Return the images x_adv (M, ...), the loss (M,) to be maximised, its gradient (M, ...) and the answer."""
        dtype = self.x.dtype
        point = x_adv.flatten(1).to(dtype) / self.span
        a, slope = loss.to(dtype) * self.worth, gradient.flatten(1).to(dtype) * self.slope
        return Iterate(point, point - self.x, a, slope, answer)

    def outside(self, point: Tensor, region: Region) -> Tensor:
        """Return the nearest feasible images (M, ...) to this point (M, D); the region is the one of the box."""
        return region.clamp((point * self.span).view(region.x.shape).to(region.x.dtype))


class Descent(NamedTuple):
    """A line search for each step of a minimisation."""

    now: Iterate  # the last accepted point
    f: Tensor  # (M,): the objective there
    gradient: Tensor  # (M, D): of f there
    direction: Tensor  # (M, D)
    history: curvature.History
    most: Tensor  # (M,) int64: the steps that this minimisation may take
    steps: Tensor  # (M,) int64: steps accepted in this minimisation, -1 before its start has been looked at
    trials: Tensor  # (M,) int64: points rejected since the last accepted one
    length: Tensor  # (M,): of the trial step, in units of the direction

    def updated(self, b: Length, c: Tensor, new: Iterate, tolerance: float) -> tuple["Descent", Tensor, Tensor]:
        """Return the line search after a look at the trial point, and two (M,) bool: accepted, and f has hardly fallen.

        Args:
            b: the length that is weighted by c.
            c: (M,), the weight of the length.
            new: the trial point, with its loss and gradient.
            tolerance: f has hardly fallen if it has fallen by no more than this share.
        """
        now, step = self.now, new.point - self.now.point
        after = new.f(b, c)
        change, predicted = after - self.f, (self.gradient * step).sum(1)
        begins = self.steps < 0
        accepted = (after <= torch.add(self.f, predicted, alpha=ARMIJO)) | begins
        moved = accepted > begins
        changes = [step, new.gradient - now.gradient]
        if b.power != 2:
            changes.append(b.gradient(new.r, new.gradient) - b.gradient(now.r, now.gradient))
        descent = self._replace(history=curvature.push(self.history, moved, *changes), steps=self.steps + accepted)
        if known_none(~accepted):
            descent = descent._replace(now=new, f=after, trials=0 * self.trials, length=torch.ones_like(self.length))
        else:
            parabola = predicted / (predicted - change) / 2
            shorter = self.length * parabola.nan_to_num(0.1).clamp(0.1, 0.5)
            descent = descent._replace(
                now=choose(accepted, new, now),
                f=torch.where(accepted, after, self.f),
                trials=(self.trials + 1).masked_fill(accepted, 0),
                length=shorter.masked_fill(accepted, 1),
            )
        return descent, accepted, moved & (change >= -tolerance * self.f.abs())

    def over(self, flat: Tensor) -> Tensor:
        """(M,) bool: no further step follows, as the last was `flat` (M,) or was the last allowed, or none is found."""
        return flat | (self.steps >= self.most) | (self.trials > TRIALS)

    def again(self, rows: Tensor, start: Iterate, most: Tensor, fresh: Tensor, unseen: Tensor) -> "Descent":
        """Return the next minimisation of these rows (M,) bool, from `start`.

        Args:
            rows: (M,) bool, the rows whose last minimisation has ended.
            start: the point at which the next minimisation begins.
            most: (M,) int64, the steps that it may take.
            fresh: (M,) bool, True where the curvature found so far is forgotten.
            unseen: (M,) bool, True where the row begins at the next trial point instead, whatever its loss.
        """
        return self._replace(
            now=choose(rows, start, self.now),
            history=curvature.cleared(self.history, fresh),
            most=torch.where(rows, most, self.most),
            steps=torch.where(rows, -unseen.long(), self.steps),
            trials=torch.where(rows, 0, self.trials),
            length=torch.where(rows, 1, self.length),
        )

    def trial(self, box: Box, b: Length, c: Tensor, turns: Tensor) -> tuple["Descent", Tensor]:
        """The next trial point (M, D): along a new direction in the rows `turns` (M,) bool, else nearer along the old.

        It may lie outside the box.
        """
        descent = self if known_none(turns) else self._turned(box, b, c, turns)
        return descent, torch.addcmul(descent.now.point, descent.length[:, None], descent.direction)

    def _turned(self, box: Box, b: Length, c: Tensor, turns: Tensor) -> "Descent":
        """The gradient of f at the last accepted point, and in the rows `turns` (M,) bool a new direction."""
        now = self.now
        gradient = torch.addcmul(now.gradient, c[:, None], b.gradient(now.r, now.gradient))
        free = (now.point != torch.where(gradient > 0, box.low, box.high)).to(gradient.dtype)
        direction = torch.where(turns[:, None], curvature.direction(self.history, c, gradient, free), self.direction)
        return self._replace(gradient=gradient, direction=direction)


def unit_box(region: Region, unit: Tensor | None = None) -> Box:
    """Return the region in units of the range, in float32 or better; the loss is counted in `unit` (M,), default 1."""
    dtype = torch.promote_types(region.x.dtype, torch.float32)
    x, low, high = (t.flatten(1).to(dtype) for t in (region.x, region.low, region.high))
    span = (high - low)[:, :1]
    span = torch.where(span.isfinite(), span, 1)
    worth = -torch.ones_like(x[:, 0]) if unit is None else -1 / unit.to(dtype)
    return Box(x / span, low / span, high / span, span, worth, worth[:, None] * span)


def first_descent(box: Box, answer: Tensor, memory: int, b: Length, most: int) -> Descent:
    """At x, whose answer is known (M, K) and whose loss is not; `memory` steps are to be remembered, `most` made."""
    zero, none = box.x.new_zeros(len(box.x)), torch.zeros(len(box.x), dtype=torch.int64, device=box.x.device)
    still = torch.zeros_like(box.x)
    history = curvature.empty(box.x, memory, 2 if b.power == 2 else 3)
    start = Iterate(box.x, still, zero, still, answer)
    return Descent(start, zero, still, still, history, none + most, none - 1, none, zero + 1)
