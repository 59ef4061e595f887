"""Functions of one number between two lines: tanh (the logistic function is a scaled copy), and other smooth ones."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advkit.certification.relu_and_pooling import Lines
from advkit.certification.windows import Windows

HALVINGS = 40

PIECES = 48
"""Parts of an interval at whose ends a smooth function is evaluated."""

NEAR = 1e-3
"""Part of a corner's size within which numbers count as equal to it, in any type."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A function of every entry that is not piecewise linear.

    Args:
        windows: the entries; each output has its own.
        slope: a bound of the absolute value of its derivative.
    """

    windows: Windows
    slope: float

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bound the output (N, *in) by the bounds of the input."""
        raise NotImplementedError

    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Return one line below and one above the function on [low, high] (N, *in)."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Tanh(Curve):
    """tanh of every entry."""

    slope: float = 1.0

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bound the output; tanh is increasing."""
        return low.tanh(), high.tanh()

    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Chord or tangent over the box [low, high] (N, *in); tanh is odd, so the lower line mirrors the upper."""
        low, high = low.flatten(1), high.flatten(1)
        high_slope, high_offset = _above(low, high)
        low_slope, below = _above(-high, -low)
        return _lines(low_slope, -below, high_slope, high_offset)


@dataclass(frozen=True, kw_only=True)
class Smooth(Curve):
    """A function whose second derivative is bounded, as those of softplus, SiLU and GELU are.

    Args:
        name: name of the function.
        function: the function, tensors to tensors of the same shape.
        bend: a bound of the absolute value of its second derivative where there is one.
        turns: the points at which it changes from falling to rising or back.
        corners: the points without a second derivative.
        jump: a bound of the height of its jumps, which are at corners.
    """

    name: str
    function: Callable[[Tensor], Tensor] = field(repr=False)
    bend: float
    turns: tuple[float, ...] = ()
    corners: tuple[float, ...] = ()
    jump: float = 0.0

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bound the output by its values at the ends and at the turns between them."""
        points = [low, high, *(torch.maximum(low, torch.clamp(high, max=turn)) for turn in self.turns)]
        values = torch.stack([self.function(point) for point in points])
        jump = self._jump(low, high)
        return values.amin(0) - jump, values.amax(0) + jump

    def _jump(self, low: Tensor, high: Tensor) -> Tensor | float:
        """The jump where the interval reaches one, or is so near that rounding does."""
        if not self.jump:
            return 0.0
        near = [(low <= c + NEAR * (1 + abs(c))) & (high >= c - NEAR * (1 + abs(c))) for c in self.corners]
        return torch.stack(near).any(0) * self.jump

    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Two lines parallel to the chord, which is the best slope for both where the function bends to one side.

        What lies between them and the function is found at the ends of `PIECES` equal parts of the interval. Within a
        part of width h the function is at most `bend h^2 / 8` off its chord.
        """
        low, high = low.flatten(1), high.flatten(1)
        wide = high > low
        rise = self.function(high) - self.function(low)
        slope = torch.where(wide, rise / torch.where(wide, high - low, 1.0), 0.0)
        slope = slope.clamp(-self.slope, self.slope)  # two ends that are nearly equal
        points = [low + (high - low) * (k / PIECES) for k in range(PIECES)] + [high]
        points += [torch.maximum(low, torch.clamp(high, max=corner)) for corner in self.corners]
        least, most = torch.full_like(low, torch.inf), torch.full_like(low, -torch.inf)
        for point in points:
            lead = self.function(point) - slope * point
            least, most = torch.minimum(least, lead), torch.maximum(most, lead)
        off = self.bend * ((high - low) / PIECES).square() / 8 + self._jump(low, high)
        return _lines(slope, least - off, slope, most + off)


def _lines(low_slope: Tensor, low_offset: Tensor, high_slope: Tensor, high_offset: Tensor) -> Lines:
    none = torch.zeros_like(low_slope, dtype=torch.int64)
    return Lines(low_slope, low_offset, none, high_slope, high_offset, none, none.bool())


def _above(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and offset of a line above tanh on [low, high].

    Left of 0 tanh is convex: the chord lies above. Right of 0 it is concave: so does any tangent. Across 0 the
    tangent at a point d >= 0 that passes above (low, tanh(low)) does, and d is the least such point; at d = high the
    chord takes over.
    """
    at_low, at_high = low.tanh(), high.tanh()
    wide = high > low
    chord = torch.where(wide, (at_high - at_low) / torch.where(wide, high - low, 1.0), 1 - at_low.square())
    left, right = low.clamp(min=0), high.clamp(min=0)
    for _ in range(HALVINGS):  # the tangent at `right` is above at low, if any in [0, high] is
        middle = (left + right) / 2
        t = middle.tanh()
        above = t - (1 - t.square()) * (middle - low) >= at_low
        left, right = torch.where(above, left, middle), torch.where(above, middle, right)
    d = torch.where(low >= 0, (low + high) / 2, right)
    t = d.tanh()
    tangent = 1 - t.square()
    is_chord = (high <= 0) | ((low < 0) & (t - tangent * (d - low) < at_low))
    slope = torch.where(is_chord, chord, tangent)
    offset = torch.where(is_chord, torch.maximum(at_low - chord * low, at_high - chord * high), t - tangent * d)
    return slope, offset
