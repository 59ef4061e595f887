"""Images as a file with 8 bits a pixel holds them."""

import torch
from torch import Tensor


def nearest(x: Tensor, bounds: tuple[float, float] = (0, 1)) -> Tensor:
    """The pixels rounded to the nearest of 256 equal levels from bound to bound, in x's type."""
    return decoded(nearest_level(x, bounds), x, bounds)


def toward(x: Tensor, x_adv: Tensor, bounds: tuple[float, float] = (0, 1)) -> tuple[Tensor, Tensor]:
    """x_adv in levels 0 to 255, rounded toward x: no pixel of the file is further from x than it was.

    Args:
        x: clean images (N, ...) within bounds.
        x_adv: adversarial images of the same shape and type.
        bounds: the range of the pixels.

    Returns:
        The levels (N, ...) uint8, and (N,) bool: whether there are such levels. Where x itself is no 8-bit image, a
        pixel between two levels may have none between x and x_adv; it gets the one nearest to x.
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
        off = (decoded(level, x, bounds).double() - x.double()).abs()
        between = between | (off <= (x_adv.double() - x.double()).abs())
    return level.to(torch.uint8), between.flatten(1).all(1)


def nearest_level(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The level (N, ...), 0 to 255 in x's type or float32, nearest to each pixel."""
    low, high = bounds
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return ((x - low) * (255 / (high - low))).round_().clamp_(0, 255)


def decoded(levels: Tensor, like: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Levels as the pixels that a reader of the file gets, in the type of `like`: level / 255, in that type."""
    low, high = bounds
    unit = levels.to(like.dtype) / 255
    return unit if (low, high) == (0, 1) else (unit * (high - low) + low).to(like.dtype)
