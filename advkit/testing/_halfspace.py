"""The smallest perturbation within a box that raises a linear function by a given amount, in closed form.

One row a problem: minimise |e| over 0 <= e <= room with <slope, e> >= need. The caller handles signs: an entry moves
in the direction of its coefficient, by e >= 0. For l2 and linf the optimum is a water level, found by sorting
(the exact line search of Hein and Andriushchenko 2017, arXiv 1705.08475, section 4); for l1 and l0 it is greedy.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from advkit.core.errors import unknown


def least_moves(norm: str, slope: Tensor, room: Tensor, need: Tensor, channels: int = 1) -> Tensor:
    """Return the optimal e.

    Args:
        norm: norm to minimise: linf, l2, l1, l0 or l0_pixels.
        slope: (M, D) float64 >= 0, the gain of each entry per unit.
        room: (M, D) float64 >= 0, largest value of each entry; inf for no limit.
        need: (M,) float64, the gain required; rows <= 0 need no move.
        channels: number of entries of a pixel, which l0_pixels counts as one; entries of one channel are adjacent.

    Returns:
        (M, D) float64; rows that cannot gain enough are inf in every entry.

    Raises:
        UnknownNameError: the norm is unknown.
    """
    if norm not in (*_SOLVERS, "l0_pixels"):
        raise unknown("norm", norm, [*_SOLVERS, "l0_pixels"])
    need = need.clamp(min=0)[:, None]
    steepest = slope.amax(1, keepdim=True)
    # No optimum without a box goes further than the steepest entry would alone; finite numbers keep 0 * inf away.
    alone = torch.where(steepest > 0, need / steepest, 0.0)
    room = torch.where(slope > 0, torch.where(room.isinf(), alone, room), 0.0)
    moves = _l0(slope, room, need, channels) if norm == "l0_pixels" else _SOLVERS[norm](slope, room, need)
    gain = (slope * room).sum(1, keepdim=True)
    possible = gain >= need * (1 - 1e-12)  # the sum rounds
    return torch.where(possible, torch.where(need > 0, moves, 0.0), torch.inf)


def _level(weight: Tensor, limit: Tensor, need: Tensor) -> Tensor:
    """(M, 1): the least t >= 0 with sum_i weight_i min(t, limit_i) >= need; the largest limit where none is enough."""
    limit_, order = limit.sort(dim=1)
    weight_ = weight.gather(1, order)
    full = (weight_ * limit_).cumsum(1) - weight_ * limit_  # from the entries that have reached their limit
    rising = weight_.flip(1).cumsum(1).flip(1)  # of the entries that have not
    t = (need - full) / rising.clamp(min=1e-300)
    inside = t <= limit_
    first = inside.to(torch.int8).argmax(1, keepdim=True)
    return torch.where(inside.any(1, keepdim=True), t.gather(1, first), limit_[:, -1:])


def _linf(slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
    return torch.minimum(room, _level(slope, room, need))


def _l2(slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
    limit = torch.where(slope > 0, room / slope.clamp(min=1e-300), 0.0)
    return torch.minimum(room, slope * _level(slope**2, limit, need))


def _l1(slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
    order = slope.argsort(dim=1, descending=True)
    slope_, room_ = slope.gather(1, order), room.gather(1, order)
    before = (slope_ * room_).cumsum(1) - slope_ * room_
    moves = torch.where(slope_ > 0, (need - before) / slope_.clamp(min=1e-300), 0.0)
    return torch.zeros_like(room).scatter(1, order, torch.minimum(room_, moves.clamp(min=0)))


def _l0(slope: Tensor, room: Tensor, need: Tensor, channels: int = 1) -> Tensor:
    gain = (slope * room).view(len(slope), channels, -1).sum(1)  # of each pixel; of each entry if channels is 1
    order = gain.argsort(dim=1, descending=True)
    gain_ = gain.gather(1, order)
    used = gain_.cumsum(1) - gain_ < need * (1 - 1e-12)
    moved = torch.zeros_like(used).scatter(1, order, used)
    return torch.where(moved.repeat(1, channels), room, 0.0)


_SOLVERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"linf": _linf, "l2": _l2, "l1": _l1, "l0": _l0}
