"""The piecewise linear node: the maximum of a window, and of 0 if a rectifier precedes or follows it.

Let i be the entry of the largest upper bound and u2 the second largest upper bound (0 included if it is in the set).
The upper line is the chord of max(x_i, u2) over [l_i, u_i], the lower one alpha x_j. A window of one entry with 0 is a
rectifier, and these are CROWN's two lines (Zhang, Weng, Chen, Hsieh, Daniel 2018, arXiv 1811.00866).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.certification.windows import Windows

ABSENT = -2
"""Marks the place of an entry that would lie over the edge of the map, see `Maximum.lines`."""


class Lines(NamedTuple):
    """One line below and one above every output, each through one entry of the input.

    `low_slope z[low_tap] <= f(z) <= high_slope z[high_tap] + high_offset` within the bounds of the input.

    Attributes:
        low_slope, low_offset, high_slope, high_offset: (N, outputs).
        low_tap, high_tap: entry of the window (N, outputs), integers.
        free: (N, outputs) bool, True where every low_slope in [0, 1] is valid.
    """

    low_slope: Tensor
    low_offset: Tensor
    low_tap: Tensor
    high_slope: Tensor
    high_offset: Tensor
    high_tap: Tensor
    free: Tensor

    def take(self, rows: Tensor) -> "Lines":
        """Return the lines of some samples."""
        return Lines(*(t[rows] for t in self))


@dataclass(frozen=True, kw_only=True)
class Maximum:
    """The maximum over a window, and over 0 if `rectified`.

    Args:
        windows: the entries under each maximum.
        rectified: whether 0 belongs to the set.
    """

    windows: Windows
    rectified: bool

    @property
    def is_rectifier(self) -> bool:
        """Whether every maximum is that of one entry and 0."""
        return self.rectified and self.windows.index is None

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bound the output (N, *out) by the bounds of the input (N, *in)."""
        edges = (self.windows.taps(t).amax(1).view(-1, *self.windows.shape) for t in (low, high))
        least, most = edges
        return (least.clamp(min=0), most.clamp(min=0)) if self.rectified else (least, most)

    def lines(self, low: Tensor, high: Tensor, splits: Tensor | None = None) -> Lines:
        """Return the two lines over the box [low, high] (N, *in).

        Args:
            low: least values of the input.
            high: largest values of the input.
            splits: assumption on each entry of each window (N, taps, outputs): 1 if it is the maximum, -1 if the
                maximum is the same without it, 0 for no assumption, ABSENT if there is no such entry.
        """
        if self.is_rectifier:
            return _rectifier_lines(low.flatten(1), high.flatten(1), None if splits is None else splits[:, 0])
        l, u = self.windows.taps(low), self.windows.taps(high)  # noqa: E741
        if splits is not None:
            l, u = (torch.where(splits < 0, -torch.inf, t) for t in (l, u))  # noqa: E741
            if self.rectified:
                l = torch.where(splits > 0, l.clamp(min=0), l)  # noqa: E741
        u_i, i = u.max(1)  # (N, outputs)
        l_i = l.gather(1, i[:, None]).squeeze(1)
        u2 = self._second(u, i)
        chord, decided = (l_i < u2) & (u2 < u_i), l_i >= u2
        slope = torch.where(chord, (u_i - u2) / torch.where(chord, u_i - l_i, 1.0), decided.to(u.dtype))
        offset = torch.where(chord, u2 - slope * l_i, torch.where(decided, 0.0, u2.clamp(min=0)))
        j, alpha = self._below(l, u, i, decided)
        return Lines(alpha, torch.zeros_like(alpha), j, slope, offset, i, chord if self.rectified else chord & False)

    def unsplit(self, low: Tensor) -> Tensor:
        """Return splits (N, taps, outputs) without assumptions, for an input of this form (N, *in)."""
        taps = self.windows.taps(low)
        return torch.where(taps == -torch.inf, ABSENT, 0).to(torch.int8)

    def settled(self, low: Tensor, high: Tensor, splits: Tensor) -> Tensor:
        """Return the splits, with the maximum named in every window that the entries left in it decide.

        Only then do the entries without which the maximum is the same have a constraint, see `constrained`.

        Args:
            low: least values of the input.
            high: largest values of the input.
            splits: assumptions on the entries, see `lines`.
        """
        if self.is_rectifier:
            return splits
        l, u = (torch.where(splits < 0, -torch.inf, self.windows.taps(t)) for t in (low, high))  # noqa: E741
        u_i, i = u.max(1)
        l_i = l.gather(1, i[:, None]).squeeze(1)
        asked = (splits == -1).any(1) & ~(splits > 0).any(1)
        is_i = asked & (u_i > -torch.inf) & (l_i >= self._second(u, i))
        is_zero = asked & ~is_i & self.rectified & (u_i <= 0)
        named = torch.full_like(splits, -1).scatter(1, i[:, None], torch.where(is_i, 1, -1)[:, None].to(splits.dtype))
        return torch.where((is_i | is_zero)[:, None] & (splits > ABSENT), named, splits)

    def height(self, low: Tensor, high: Tensor, splits: Tensor) -> tuple[Tensor, Tensor]:
        """How far the upper line exceeds the maximum (N, outputs), 0 without choice; and the entry to split.

        The line is the chord of max(x_i, u2) over [l_i, u_i]. It exceeds the maximum most where x_i is u2, or where
        every entry is least.
        """
        lines = self.lines(low, high, splits)
        l, u = self.windows.taps(low), self.windows.taps(high)  # noqa: E741
        i = lines.high_tap[:, None]
        l_i, u_i = l.gather(1, i).squeeze(1), u.gather(1, i).squeeze(1)
        u2 = self._second(torch.where(splits < 0, -torch.inf, u), lines.high_tap)
        open_ = (l_i < u2) & (u2 <= u_i) & (splits.gather(1, i).squeeze(1) == 0)
        chord = open_ & (u2 < u_i)
        at_u2 = torch.where(chord, (u_i - u2) * (u2 - l_i) / torch.where(chord, u_i - l_i, 1.0), 0.0)
        least = torch.where(splits < 0, -torch.inf, l).amax(1)
        at_least = u2 - (least.clamp(min=0) if self.rectified else least)
        return torch.where(open_, torch.maximum(at_u2, at_least), 0.0), lines.high_tap

    def counting(self, splits: Tensor) -> Tensor:
        """Return (N, taps, outputs) bool: the entry has a constraint, see `constrained`."""
        chosen = splits > 0
        known = chosen.any(1, keepdim=True)
        counts = known | (splits < 0).all(1, keepdim=True) if self.rectified else known & ~chosen
        return counts & (splits > ABSENT)

    def constrained(self, splits: Tensor, beta: Tensor) -> Tensor:
        """The terms (N, taps, outputs) that multipliers of the assumptions add to the coefficients of the entries.

        An entry that is the maximum is at least each other and, rectified, at least 0. If 0 is the maximum, no entry
        exceeds it. A sum of such terms, each times its beta >= 0, is at most 0 wherever the assumptions hold.

        Args:
            splits: assumptions on the entries, see `lines`.
            beta: one multiplier for each entry (N, taps, outputs), >= 0.
        """
        if self.is_rectifier:  # the same with less work, for a search asks it in every step
            return beta * -splits
        chosen = splits > 0
        terms = torch.where(self.counting(splits), beta, 0.0)
        return torch.where(chosen, -terms.sum(1, keepdim=True), terms)

    def _second(self, u: Tensor, i: Tensor) -> Tensor:
        """The largest upper bound beside that of entry i: (N, outputs)."""
        others = u.scatter(1, i[:, None], -torch.inf).amax(1)
        return others.clamp(min=0) if self.rectified else others

    def _below(self, l: Tensor, u: Tensor, i: Tensor, decided: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
        """The entry below and its slope: the one with the highest middle, or i where it is the maximum for sure."""
        middle = l + u
        best, j = torch.where(u > -torch.inf, middle, -torch.inf).max(1)
        j = torch.where(decided, i, j)
        if not self.rectified:
            return j, torch.ones_like(best)
        return j, (decided | (best > 0)).to(u.dtype)


def _rectifier_lines(low: Tensor, high: Tensor, splits: Tensor | None) -> Lines:
    """The lines of `Maximum.lines` where every window has one entry: less work, for a search asks them in every part.

    Args:
        low, high: bounds of the input (N, D).
        splits: what is assumed of every entry (N, D); None: nothing.
    """
    if splits is not None and low.stride(0) == 0:  # one row that stands for all
        low, high = low[:1], high[:1]
    negative, positive = low.clamp(max=0), high.clamp(min=0)
    width = positive - negative
    none = width == 0
    slope = (positive + none) / (width + none)  # 1 where the input is 0
    free = (negative < 0) & (positive > 0)
    alpha = (free & (low + high > 0) | ~free & (slope > 0)).to(low.dtype)
    offset = -slope * negative
    if splits is not None:  # the input itself, or 0
        known = splits.to(low.dtype)
        active, unknown = known.relu(), 1 - known.abs()
        slope, alpha, offset = slope * unknown + active, alpha * unknown + active, offset * unknown
        free = free & (splits == 0)
    tap = torch.zeros((), dtype=torch.int64, device=low.device).expand(slope.shape)
    return Lines(
        alpha, torch.zeros((), dtype=low.dtype, device=low.device).expand(slope.shape), tap, slope, offset, tap, free
    )
