"""Images turned and shifted: the motion of Engstrom et al. 2017, section 3 (arXiv 1712.02779), by our affine grid."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from advkit.core.pixel_range import onto
from advkit.models.spatial_transformer import bilinear, regular_grid


def move(x: Tensor, angle: Tensor, right: Tensor, down: Tensor, black: float = 0.0) -> Tensor:
    """Return the images rotated about their centre and shifted, bilinear, black beyond their edge; differentiable.

    Args:
        x: images (M, C, H, W).
        angle: (M,), angle in radians, counter-clockwise.
        right, down: (M,), shifts as shares of width and height.
        black: value of a pixel beyond the edge.
    """
    H, W = x.shape[2:]
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack([cos, -sin * H / W, -2 * right, sin * W / H, cos, -2 * down], 1)  # to where a pixel comes from
    points = regular_grid((H, W), rows.device).to(rows) + rows[:, None, None, 2::3]  # the shift first, then the turn
    A = rows.view(-1, 1, 1, 2, 3)[..., :2]  # (M, 1, 1, 2, 2)
    return onto(black, x, lambda seen: bilinear(seen, (A * points[..., None, :]).sum(-1)))


def grid_point(i: int, counts: Sequence[int]) -> Iterator[float]:
    """The i-th point of a grid over [-1, 1] in each coordinate, the last coordinate running fastest.

    Args:
        i: number of the point, from 0 to the product of the counts minus 1.
        counts: number of values of each coordinate, evenly spaced from -1 to 1; a single value is 0.
    """
    for place, count in zip(np.unravel_index(i, counts), counts, strict=True):
        yield 2 * int(place) / (count - 1) - 1 if count > 1 else 0.0
