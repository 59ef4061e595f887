"""Thresholds within a row: the k-th largest entry, and how far all entries must shrink for their sum to fit."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def flags(compare: Callable[..., Tensor], a: Tensor, b: Tensor | float) -> Tensor:
    """Return 1 where compare(a, b) holds, else 0, in a's shape and type; b broadcasts to a.

    On a CPU this is several times faster than a bool tensor, and much faster than `torch.where` on a random mask.
    """
    return compare(a, b, out=torch.empty_like(a))


def ascending(values: Tensor) -> Tensor:
    """Sort the rows of values (N, D), which hold no NaN, in float32 or better.

    On a CPU NumPy sorts with vector instructions, 20 times faster than torch.
    """
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    if values.device.type != "cpu":
        return values.sort(dim=1).values
    return torch.from_numpy(np.sort(values.numpy(force=True), axis=1))


def kth_largest(values: Tensor, count: Tensor) -> Tensor:
    """Return the count-th largest entry (N, 1) of each row of values (N, D); count (N, 1) int64, 1 to D."""
    return ascending(values).gather(1, values.shape[1] - count).to(values.dtype)


def largest(d: Tensor, count: Tensor) -> Tensor:
    """Keep the `count` entries of each row with the largest |d|, of equal ones the first; others become 0.

    Args:
        d: (N, D), the rows whose entries are compared.
        count: (N, 1), number of entries >= 0, rounded down; a number above D keeps all entries.
    """
    size = d.abs().to(torch.promote_types(d.dtype, torch.float32))
    return d * top(size, count).to(d.dtype)


def top(size: Tensor, count: Tensor) -> Tensor:
    """Return 1 at the `count` largest entries of each row of size (N, D), of equal ones the first; else 0.

    Args:
        size: (N, D), the rows whose entries are compared.
        count: (N, 1), number of entries >= 0, rounded down; a number above D takes all entries.
    """
    count = count.floor().clamp(0, size.shape[1])
    least = kth_largest(size, count.long().clamp(min=1))
    above, equal = flags(torch.gt, size, least), flags(torch.eq, size, least)
    left = (count - above.sum(1, keepdim=True)).to(size.dtype)
    return above.add_(equal.mul_(flags(torch.le, equal.cumsum(1), left))) * (count > 0)


def soft_threshold(d: Tensor, radius: Tensor) -> Tensor:
    """Shrink the entries of d (N, D) by one theta a row: the least theta >= 0 that makes the l1 size <= radius (N, 1).

    Duchi et al. 2008 (doi 10.1145/1390156.1390191): theta is the largest of (s_1 + ... + s_j - radius) / j over the
    sorted |d|.
    """
    size = ascending(d.abs()).flip(1)
    count = torch.arange(1, d.shape[1] + 1, dtype=size.dtype, device=d.device)
    theta = size.cumsum(1).sub_(radius).div_(count).amax(1, keepdim=True).clamp_(min=0).to(d.dtype)
    return torch.copysign(torch.sub(d.abs(), theta).clamp_(min=0), d)


def soft_threshold_within(d: Tensor, most: Tensor, radius: Tensor) -> Tensor:
    """Like `soft_threshold`, but no entry of the result is larger than its `most` (N, D), 0 <= most <= |d|.

    On a CPU, where checking for convergence costs nothing, Newton's method finds theta in 3 to 5 rounds after a step
    of PGD or APGD. On other devices, and for rows that have not converged, theta is found by bisection.
    """
    size = d.abs()
    if d.device.type != "cpu":
        theta = halved(size, most, radius)
    else:
        theta, arrived = newton(size, most, radius)
        if not bool(arrived.all()):
            theta = torch.where(arrived, theta, halved(size, most, radius))
    return torch.copysign(torch.minimum(torch.sub(size, theta).clamp_(min=0), most), d)


NEWTON = 12
"""Maximum number of Newton's steps; a row that has not converged by then may cycle, for the sum is not convex."""


def newton(size: Tensor, most: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Find theta (N, 1) >= 0 such that sum(min(size - theta, most)) over the positive entries is the radius.

    The sum is piecewise linear in theta: a step within the last piece is exact. A row that has converged does not
    change any more, so that its theta does not depend on the other rows.

    Returns:
        theta, and which rows have converged (N, 1) bool.
    """
    grain, peak = torch.finfo(size.dtype).eps, size.amax(1, keepdim=True)
    rest, moving = torch.empty_like(size), torch.empty_like(size)
    theta, arrived = torch.zeros_like(radius), torch.zeros_like(radius, dtype=torch.bool)
    for _ in range(NEWTON):
        torch.sub(size, theta, out=rest).clamp_(min=0)
        torch.gt(rest, 0, out=moving).mul_(flags(torch.le, rest, most))
        count = moving.sum(1, keepdim=True).clamp_(min=1)
        over = torch.minimum(rest, most, out=rest).sum(1, keepdim=True) - radius
        close = over.abs() <= 16 * grain * (radius + count * theta)
        inside = (over <= 0) & (theta == 0)
        theta = torch.where(arrived, theta, (theta + over / count).clamp_(min=0).minimum(peak))
        arrived = arrived | close | inside
        if bool(arrived.all()):
            break
    return theta, arrived


def halved(size: Tensor, most: Tensor, radius: Tensor) -> Tensor:
    """Find the same theta by bisection, up to the rounding of the largest entry."""

    def left(theta: Tensor) -> Tensor:
        return torch.minimum((size - theta).clamp_(min=0), most)

    low, high = torch.zeros_like(radius), size.amax(1, keepdim=True)
    for _ in range(1 - round(math.log2(torch.finfo(size.dtype).eps))):
        theta = (low + high) / 2
        over = left(theta).sum(1, keepdim=True) > radius
        low, high = torch.where(over, theta, low), torch.where(over, high, theta)
    rest = left(low)
    count = ((rest > 0) & (rest < most)).sum(1, keepdim=True).clamp(min=1)
    return torch.minimum(low + (rest.sum(1, keepdim=True) - radius).clamp(min=0) / count, high)


def two_thirds_threshold(size: Tensor, t: Tensor) -> Tensor:
    """The u >= 0 with the least t u^(2/3) + (u - size)^2 / 2, for size and t >= 0 that broadcast; 0 where that is 0.

    Cao, Sun, Xu 2013 (doi 10.1016/j.jvcir.2012.10.006). At v = u^(1/3) the derivative is 0 where v^4 - size v + c = 0,
    c = 2 t / 3; with the real root z of z^3 - 4 c z = size^2 that is a square of a quadratic in v.
    """
    a, c = size.double(), 2 / 3 * t.double()
    half, depth = a**2 / 2, (a**4 / 4 - (4 / 3 * c) ** 3).clamp(min=0).sqrt()
    one = (half + depth).clamp(min=1e-200) ** (1 / 3)
    z = one + 4 / 3 * c / one  # the other root is that of half - depth, which would cancel
    v = (z.sqrt() + (2 * a / z.sqrt() - z).clamp(min=0).sqrt()) / 2
    u = v**3
    better = 1.5 * c * v**2 + (u - a) ** 2 / 2 < half
    return torch.where(better, u, 0.0).to(size.dtype)
