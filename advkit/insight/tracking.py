"""What a spatial transformer follows: how its crop moves with an object. Jaderberg et al. 2015, arXiv 1506.02025."""

import torch
from torch import Tensor

from advkit.core.errors import InputError


def tracking(points: Tensor, x: Tensor) -> Tensor:
    """Measure how closely the middle of a transformer's crop moves with the middle of the brightness of each channel.

    The measure is a correlation over the images, the mean of those of rows and of columns. It is 1 if the crop follows
    the channel's light object everywhere, and 0 if it does not move with it. A crop that never moves gets 0.

    Args:
        points: source points (N, H', W', 2) in [-1, 1], as `SpatialTransformer.points` gives, N at least 3.
        x: images (N, C, H, W) in [0, 1], light objects on black.

    Returns:
        The correlations (C,) float64 in [-1, 1].

    Raises:
        InputError: fewer than three images, or another number of grids.
    """
    if len(x) < 3 or len(points) != len(x):
        raise InputError(f"expected three images or more and one grid an image, got {len(x)} and {len(points)}")
    crop = points.double().flatten(1, 2).mean(1)  # (N, 2)
    return correlation(crop[:, None], brightness_middle(x)).mean(1)


def brightness_middle(x: Tensor) -> Tensor:
    """Return column and row of the middle of each channel's brightness, in [-1, 1]: (N, C, 2); 0 where all is black.

    Args:
        x: images (N, C, H, W) in [0, 1].
    """
    x = x.double()
    height, width = x.shape[2:]
    mass = x.sum((2, 3)).clamp_min(torch.finfo(x.dtype).tiny)
    columns, rows = ((2 * torch.arange(n, device=x.device) + 1) / n - 1 for n in (width, height))
    return torch.stack([(x.sum(2) * columns).sum(2) / mass, (x.sum(3) * rows).sum(2) / mass], 2)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Compute Pearson's correlation of a and b over their first axis; 0 where one of them is constant."""
    a, b = a - a.mean(0), b - b.mean(0)
    length = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return (a * b).sum(0) / length.clamp_min(torch.finfo(length.dtype).tiny)
