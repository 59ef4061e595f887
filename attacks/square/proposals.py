"""What the Square attack proposes, by norm: Andriushchenko et al. 2019, algorithms 2 and 3 (arXiv 1912.00049)."""

import math
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.frame import frame
from advkit.core.goals import wide
from advkit.core.norms import per_row
from advkit.core.threat import Region


class Window(NamedTuple):
    """The size of a square; where the image is narrower than its sides, a rectangle of the same area."""

    height: int
    width: int


class Proposals(Protocol):
    """One norm's moves."""

    def first(self, region: Region, draws: Draws) -> Tensor: ...
    def next(self, region: Region, x_max: Tensor, window: Window, draws: Draws, step: int) -> Tensor: ...


def sides(x: Tensor, share: float) -> Window:
    """Return a square with this share of the pixels of the images x (N, ...)."""
    _, height, width = frame(tuple(x.shape[1:]))
    side = max(1, min(height, round(math.sqrt(share * height * width))))
    return Window(
        side, max(1, min(width, round(share * height * width / side))) if side == height else min(side, width)
    )


def _corner(x: Tensor, window: Window, u: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (M,) of the upper left pixel of a square, from two uniform numbers (M, 2)."""
    _, height, width = frame(tuple(x.shape[1:]))
    room = u.new_tensor([height - window.height + 1, width - window.width + 1])
    row, column = (u * room).long().unbind(1)
    return row, column


def _pixels(x: Tensor, window: Window, corner: tuple[Tensor, Tensor]) -> Tensor:
    """(M, 1, h * w): the places of the square's pixels among the H * W of the image."""
    device, (_, _, width) = x.device, frame(tuple(x.shape[1:]))
    rows = corner[0][:, None] + torch.arange(window.height, device=device)  # (M, h)
    columns = corner[1][:, None] + torch.arange(window.width, device=device)  # (M, w)
    return (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None]


class Corners:
    """linf: every pixel of the square at one end of its interval."""

    def first(self, region: Region, draws: Draws) -> Tensor:
        """Vertical stripes, each channel of each at random."""
        channels, height, width = frame(tuple(region.x.shape[1:]))
        up = draws.uniform(0, (channels, 1, width)) < 0.5
        return torch.where(up.expand(-1, -1, height, -1).reshape(region.x.shape), region.high, region.low)

    def next(self, region: Region, x_max: Tensor, window: Window, draws: Draws, step: int) -> Tensor:
        """Return a square at +eps or -eps in each channel; where that changes nothing, on the other side."""
        channels, height, width = frame(tuple(region.x.shape[1:]))
        u = draws.uniform(step, (2 + channels,))
        place = _pixels(x_max, window, _corner(x_max, window, u[:, :2])).expand(-1, channels, -1)
        up = (u[:, 2:, None] < 0.5).expand_as(place)
        low, high, now = (t.reshape(-1, channels, height * width) for t in (region.low, region.high, x_max))
        low_, high_, now_ = (t.gather(2, place) for t in (low, high, now))
        new = torch.where(up, high_, low_)
        idle = (new == now_).flatten(1).all(1)[:, None, None]
        new = torch.where(idle, torch.where(up, low_, high_), new)
        return now.scatter(2, place, new).view_as(x_max)


@lru_cache(maxsize=64)
def _pyramids(height: int, width: int) -> tuple[Tensor, ...]:
    """eta (height, width) of l2 size 1: one pyramid beside another of opposite sign; upright, and lying if square."""
    lying = torch.zeros(height, width, dtype=torch.float64, device="cpu")
    if height < width:
        lying = _pyramids(width, height)[0].T
    else:
        half = height // 2
        lying[:half] = _pyramid(half, width)
        lying[half:] = -_pyramid(height - half, width)
        lying = lying / torch.linalg.vector_norm(lying)
    return lying, lying.T if height == width else lying


def _pyramid(height: int, width: int) -> Tensor:
    """(height, width): sum of 1 / k^2 over the rings k = d + 1, d + 2, ... where d is the distance from the centre."""
    down = (torch.arange(height, device="cpu") - height // 2).abs()[:, None]
    across = (torch.arange(width, device="cpu") - width // 2).abs()
    rings = max(height, width) // 2 + 1
    tail = (1 / torch.arange(1, rings + 1, dtype=torch.float64, device="cpu") ** 2).flip(0).cumsum(0).flip(0)
    return tail[torch.maximum(down, across).clamp(max=rings - 1)]


def _size(d: Tensor) -> Tensor:
    """(M, C, P) -> (M, C, 1): the l2 size of each channel, in d's own precision, 0 counted as tiny."""
    size: Tensor = torch.linalg.vector_norm(d, dim=2, keepdim=True).clamp(min=1e-12)
    return size


class Pyramids:
    """l2: the square takes the budget that another one has spent, and what is left of it."""

    def first(self, region: Region, draws: Draws) -> Tensor:
        """Return a grid of about 5 x 5 tiles, each channel of each with a random sign."""
        channels, height, width = frame(tuple(region.x.shape[1:]))
        tile = Window(max(1, height // 5), max(1, width // 5))
        down, across = height // tile.height, width // tile.width
        sign = torch.where(draws.uniform(0, (channels, down, across)) < 0.5, -1.0, 1.0)
        eta = _pyramids(*tile)[0].to(sign.device)
        grid = sign.repeat_interleave(tile.height, 2).repeat_interleave(tile.width, 3) * eta.repeat(down, across)
        above, left = (height - down * tile.height) // 2, (width - across * tile.width) // 2
        below, right = height - down * tile.height - above, width - across * tile.width - left
        return _spent(region, torch.nn.functional.pad(grid, (left, right, above, below)).reshape(region.x.shape))

    def next(self, region: Region, x_max: Tensor, window: Window, draws: Draws, step: int) -> Tensor:
        """Algorithm 3: the perturbation of square 2 moves into square 1, which turns towards new pyramids."""
        channels, height, width = frame(tuple(region.x.shape[1:]))
        window = Window(*(min(most, max(3, side) | 1) for side, most in zip(window, (height, width), strict=True)))
        u = draws.uniform(step, (5 + channels,))
        both = _pixels(x_max, window, _corner(x_max, window, u[:, :4].reshape(-1, 2)))  # (2 M, 1, h * w)
        place, other = both.view(len(u), 2, 1, -1).expand(-1, -1, channels, -1).unbind(1)
        delta = (wide(x_max) - wide(region.x)).reshape(-1, channels, height * width)
        eta = torch.stack([e.flatten() for e in _pyramids(*window)]).to(delta)[(u[:, 4] < 0.5).long()]  # (M, h * w)
        sign = torch.where(u[:, 5:] < 0.5, -1.0, 1.0)[:, :, None].to(delta)
        left = (per_row(region.eps.flatten(), delta) ** 2 - (_size(delta) ** 2).sum(1, keepdim=True)).clamp(min=0)
        old = delta.gather(2, place)
        delta.scatter_(2, place, 0.0)  # in place: `delta` is nobody else's
        moved = (old**2).sum(2, keepdim=True) + (delta.gather(2, other) ** 2).sum(2, keepdim=True)  # in each channel
        new = eta[:, None] * sign + old / _size(old)
        new = new / _size(new) * (left / channels + moved).sqrt().to(delta)
        return _spent(region, delta.scatter_(2, other, 0.0).scatter_(2, place, new).view_as(x_max))


def _spent(region: Region, d: Tensor) -> Tensor:
    """x + d within the range, d scaled to size eps; what the range cuts off is spent once more, elsewhere.

    The paper loses that part, which on dark images is most of the budget.
    """
    x = wide(region.x)
    return _scaled(region, x, wide(_scaled(region, x, d)) - x)


def _scaled(region: Region, x: Tensor, d: Tensor) -> Tensor:
    """x + d with d scaled to size eps, within the range."""
    size = per_row(_size(d.flatten(1)[:, None]).flatten(), d)
    return region.clamp(torch.addcmul(x, d, (region.eps / size).to(d.dtype)).to(region.x.dtype))


PROPOSALS: dict[str, Proposals] = {"linf": Corners(), "l2": Pyramids()}
