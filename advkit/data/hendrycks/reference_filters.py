"""The filters of the published corruptions, with the edges and the rounding of the libraries that they use.

Those libraries (scipy.ndimage, scikit-image, OpenCV) are not needed here. Everything is float64, one batch at a time.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

# How a position outside the image is looked up; names as in the libraries.
NEAREST = "nearest"  # a a | a b c d | d d
SYMMETRIC = "symmetric"  # b a | a b c d | d c   (scipy's "reflect")
MIRRORED = "mirrored"  # c b | a b c d | c b   (OpenCV's BORDER_REFLECT_101)


def folded(positions: Tensor, size: int, edge: str) -> Tensor:
    """Fold integer positions into indices below `size`, by the rule for the edge."""
    if edge == NEAREST or size == 1:
        return positions.clamp(0, size - 1)
    period = 2 * size if edge == SYMMETRIC else 2 * size - 2
    inside = positions % period
    return torch.where(inside >= size, period - inside - (1 if edge == SYMMETRIC else 0), inside)


def gaussian(x: Tensor, sigma: float, edge: str = NEAREST, truncate: float = 4.0) -> Tensor:
    """Smooth x (..., H, W) like scipy's gaussian_filter; the kernel ends after `truncate` standard deviations."""
    reach = int(truncate * sigma + 0.5)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    weights = weights / weights.sum()
    if reach > FEW:  # then nothing is cut to levels after it
        offsets = torch.arange(-reach, reach + 1, device=x.device)
        spread = torch.from_numpy(weights).to(x.device)
        rows, columns = (matrix(side, offsets, spread, edge) for side in x.shape[-2:])
        return rows @ x @ columns.T
    return _along(_along(x, weights, edge, -2), weights, edge, -1)


FEW = 16
"""Up to this reach the terms are added in scipy's order: what follows cuts to levels and sees the last bit."""


def _along(x: Tensor, weights: Any, edge: str, axis: int) -> Tensor:
    """The kernel along one axis: the middle first, then pairs from the outermost inwards."""
    reach, side = len(weights) // 2, x.shape[axis]
    at = torch.arange(side, device=x.device)
    total = x * float(weights[reach])
    for step in range(reach, 0, -1):
        pair = (folded(at + sign * step, side, edge) for sign in (-1, 1))
        before, after = (x.index_select(axis, index) for index in pair)
        total = total + (before + after) * float(weights[reach - step])
    return total


def matrix(size: int, offsets: Tensor, weights: Tensor, edge: str) -> Tensor:
    """Return (size, size): the kernel at each position; parts outside are folded back."""
    at = torch.arange(size, device=offsets.device)[:, None]
    source = folded(at + offsets[None, :], size, edge)
    zeros = torch.zeros(size, size, dtype=weights.dtype, device=offsets.device)
    return zeros.scatter_add_(1, source, weights.expand(size, -1))


def correlated(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter x (N, C, H, W) like OpenCV's filter2D: correlation with an odd square kernel and mirrored edges."""
    reach = kernel.shape[0] // 2
    if not len(x):
        return x
    for axis in (2, 3):
        side = x.shape[axis]
        x = x.index_select(axis, folded(torch.arange(-reach, side + reach, device=x.device), side, MIRRORED))
    shape = list(x.shape[2:])
    spectrum = torch.fft.rfft2(x) * torch.fft.rfft2(kernel.flip(0, 1), s=shape)
    whole: Tensor = torch.fft.irfft2(spectrum, s=shape)
    return whole[..., 2 * reach :, 2 * reach :]


def disk(radius: float, sigma: float, device: torch.device) -> Tensor:
    """Return the kernel of a lens out of focus: a disk with a smoothed edge."""
    half = 8 if radius <= 8 else math.ceil(radius)
    at = torch.arange(-half, half + 1, dtype=torch.float64, device=device)
    flat = ((at[:, None] ** 2 + at[None, :] ** 2) <= radius**2).float()
    flat = flat / flat.sum()
    reach = 1 if radius <= 8 else 2
    offsets = torch.arange(-reach, reach + 1, device=device)
    weights = torch.exp(-(offsets.double() ** 2) / (2 * sigma * sigma))
    smooth = matrix(len(at), offsets, (weights / weights.sum()).float().double(), MIRRORED)
    rows = (flat.double() @ smooth.T).float().double()
    return (smooth @ rows).float().double()


def zoomed(x: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of x (N, C, H, W) like scipy's zoom of order 1, and cut it to x's size."""
    for axis in (2, 3):
        side = x.shape[axis]
        part = math.ceil(side / factor)
        inside = x.narrow(axis, (side - part) // 2, part)
        length = round(part * factor)
        spread = _stretch(part, length).to(x.device)
        x = torch.tensordot(inside.movedim(axis, -1), spread.T, 1).movedim(-1, axis)
        x = x.narrow(axis, (length - side) // 2, side)
    return x


def _stretch(size: int, length: int) -> Tensor:
    """(length, size): linear interpolation, the first and the last points upon each other."""
    at = torch.arange(length, dtype=torch.float64, device="cpu") * ((size - 1) / (length - 1) if length > 1 else 0.0)
    below = at.floor().clamp(max=size - 1).long()
    share = at - below
    matrix = torch.zeros(length, size, dtype=torch.float64, device="cpu")
    matrix.scatter_add_(1, below[:, None], (1 - share)[:, None])
    return matrix.scatter_add_(1, (below + 1).clamp(max=size - 1)[:, None], share[:, None])


def motion_blurred(x: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """Blur x (N, C, H, W) along a line like ImageMagick: half a Gaussian, whole steps, edges repeated.

    Args:
        x: the images.
        radius: reach of the blur in pixels.
        sigma: standard deviation of the blur in pixels.
        angle: (N,) direction in degrees.
    """
    width = 2 * math.ceil(radius) + 1
    weights = torch.exp(-(torch.arange(width, dtype=torch.float64, device="cpu") ** 2) / (2 * sigma**2))
    down, right = torch.sin(torch.deg2rad(angle)), torch.cos(torch.deg2rad(angle))
    out = torch.zeros_like(x)
    for step, weight in enumerate((weights / weights.sum()).tolist()):
        rows = _moved(x.shape[2], torch.ceil(step * down - 0.5))
        columns = _moved(x.shape[3], torch.ceil(step * right - 0.5))
        out += weight * shuffled(x, rows[:, :, None], columns[:, None, :])
    return out


def _moved(side: int, by: Tensor) -> Tensor:
    """(N, side): the index each position reads after a move by (N,), edges repeated."""
    return (torch.arange(side, device=by.device) + by.long()[:, None]).clamp(0, side - 1)


def shuffled(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return x (N, C, H, W) at `rows` and `columns`, which broadcast to (N, H, W)."""
    flat = (rows * x.shape[3] + columns).flatten(1)  # (N, H * W)
    return x.flatten(2).gather(2, flat[:, None].expand(-1, x.shape[1], -1)).view_as(x)


def sampled(x: Tensor, rows: Tensor, columns: Tensor, edge: str) -> Tensor:
    """Sample x (N, C, H, W) at fractional places (N, H, W), linearly between the four nearest pixels."""
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top)[:, None], (columns - left)[:, None]
    height, width = x.shape[2:]
    r0, r1 = (folded(top.long() + k, height, edge) for k in (0, 1))
    c0, c1 = (folded(left.long() + k, width, edge) for k in (0, 1))
    above = shuffled(x, r0, c0) * (1 - right) + shuffled(x, r0, c1) * right
    below = shuffled(x, r1, c0) * (1 - right) + shuffled(x, r1, c1) * right
    return above * (1 - down) + below * down
