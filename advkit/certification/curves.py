"""The smooth node: tanh (the logistic function is a scaled copy) between two lines."""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.certification.relu_and_pooling import Lines
from advkit.certification.windows import Windows

HALVINGS = 40


@dataclass(frozen=True, kw_only=True)
class Tanh:
    """tanh of every entry."""

    windows: Windows

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bound the output; tanh is increasing."""
        return low.tanh(), high.tanh()

    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Chord or tangent over the box [low, high] (N, *in); tanh is odd, so the lower line mirrors the upper."""
        low, high = low.flatten(1), high.flatten(1)
        high_slope, high_offset = _above(low, high)
        low_slope, below = _above(-high, -low)
        none = torch.zeros_like(low, dtype=torch.int64)
        return Lines(low_slope, -below, none, high_slope, high_offset, none, none.bool())


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
