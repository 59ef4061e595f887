"""Images as stored in a file with 8 bits a pixel."""

import torch
from torch import Tensor

from advkit.core.float64 import in_float64


def nearest(x: Tensor, bounds: tuple[float, float] = (0, 1)) -> Tensor:
    """Round the pixels to the nearest of 256 equal levels from bound to bound, in x's type."""
    return decoded(nearest_level(x, bounds), x, bounds)


def toward(x: Tensor, x_adv: Tensor, bounds: tuple[float, float] = (0, 1)) -> tuple[Tensor, Tensor]:
    """Convert x_adv to levels 0 to 255, rounded toward x: no pixel of the file is further from x than it was.

    Args:
        x: clean images (N, ...) within bounds.
        x_adv: adversarial images of the same shape and type.
        bounds: the range of the pixels.

    Returns:
        The levels (N, ...) uint8, and (N,) bool: whether there are such levels. If x itself is no 8-bit image, there
        may be no level between x and x_adv; the pixel then gets the level nearest to x.
    """
    up = x_adv >= x
    level = nearest_level(x_adv, bounds)
    pixel = decoded(level, x, bounds)
    level -= (up & (pixel > x_adv)).to(level.dtype)
    level += (~up & (pixel < x_adv)).to(level.dtype)
    pixel = decoded(level, x, bounds)
    between = (up & (pixel >= x)) | (~up & (pixel <= x))
    if not bool(between.all()):  # where x is no 8-bit image
        level = torch.where(between, level, nearest_level(x, bounds))
        off = (in_float64(decoded(level, x, bounds)) - in_float64(x)).abs()
        between = between | (off <= (in_float64(x_adv) - in_float64(x)).abs()).to(between.device)
    return level.to(torch.uint8), between.flatten(1).all(1)


def nearest_level(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the level (N, ...), 0 to 255 in x's type or float32, nearest to each pixel."""
    low, high = bounds
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return ((x - low) * (255 / (high - low))).round_().clamp_(0, 255)


def decoded(levels: Tensor, like: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Convert levels to pixels as a reader of the file does: level / 255, in the type of `like`."""
    low, high = bounds
    unit = levels.to(like.dtype) / 255
    return unit if (low, high) == (0, 1) else (unit * (high - low) + low).to(like.dtype)
