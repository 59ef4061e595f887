"""The l2-nearest point, within a box, at which one class of an affine classifier leads all the others.

This is a projection onto a polyhedron. Its dual has one variable a rival class and is maximised one variable at a time
(Hildreth 1957, "A quadratic programming procedure"); each step is exact: a piecewise linear equation is solved by
sorting its kinks. For a few classes it converges to rounding; there is a closed form for two classes only.
"""

import torch
from torch import Tensor

SWEEPS = 5000


def nearest_in_cell(normals: Tensor, need: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the shortest d with <normals_k, d> >= need_k for every k and low <= d <= high.

    Args:
        normals: (N, M, D) float64, the normals of the half-spaces.
        need: (N, M) float64, the gain required along each normal.
        low: (N, D) float64 <= 0, the least move of each entry, finite or -inf.
        high: (N, D) float64 >= 0, the largest move of each entry, finite or inf.

    Returns:
        (N, D) float64; rows for which no such d was found are inf in every entry.
    """
    multipliers = torch.zeros_like(need)
    for _ in range(SWEEPS):
        before = multipliers.clone()
        for k in range(need.shape[1]):
            others = multipliers.clone()
            others[:, k] = 0
            pulled = (others[:, :, None] * normals).sum(1)  # (N, D)
            multipliers[:, k] = _climb(normals[:, k], need[:, k], pulled, low, high)
        if bool(((multipliers - before).abs() <= 1e-14 * (1 + before)).all()):
            break
    d = (multipliers[:, :, None] * normals).sum(1).clamp(low, high)
    short = need - (normals * d[:, None]).sum(2)  # (N, M)
    scale = 1 + need.abs().amax(1, keepdim=True)
    return torch.where((short <= 1e-8 * scale).all(1, keepdim=True), d, torch.inf)


def _climb(a: Tensor, need: Tensor, z: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(N,): the least t >= 0 with <a, clamp(z + t a, low, high)> >= need; the last kink where there is none."""
    missing = need - (a * z.clamp(low, high)).sum(1)
    rate = torch.where(a != 0, a, 1.0)
    enter = torch.where(a > 0, low - z, high - z) / rate
    leave = torch.where(a > 0, high - z, low - z) / rate
    enter, leave = enter.clamp(min=0), leave.clamp(min=0).maximum(enter.clamp(min=0))
    kinks, order = torch.cat([enter, leave], 1).sort(dim=1)  # (N, 2 D)
    slopes = torch.cat([a**2, -(a**2)], 1).gather(1, order).cumsum(1)  # right of each kink
    kinks = kinks.clamp(max=1e12)
    widths = kinks.diff(dim=1)
    gained = torch.cat([torch.zeros_like(kinks[:, :1]), (slopes[:, :-1] * widths).cumsum(1)], 1)  # at each kink
    reached = gained >= missing[:, None]
    first = reached.to(torch.int8).argmax(1, keepdim=True)
    last = (first - 1).clamp(min=0)  # the kink before the level is reached
    rest = (missing[:, None] - gained.gather(1, last)) / slopes.gather(1, last).clamp(min=1e-300)
    t = torch.where(reached.any(1, keepdim=True), kinks.gather(1, last) + rest.clamp(min=0), kinks[:, -1:])
    return torch.where(missing > 0, t.squeeze(1), 0.0)
