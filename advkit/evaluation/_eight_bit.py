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
    gap, wide = (x_adv.double() - x.double()).abs(), x.double()
    level = nearest_level(x_adv, bounds)
    beyond = (decoded(level, x, bounds).double() - wide).abs() > gap
    level = torch.where(beyond, level - (x_adv.double() - wide).sign(), level).clamp(0, 255)
    beyond = (decoded(level, x, bounds).double() - wide).abs() > gap
    level = torch.where(beyond, nearest_level(x, bounds), level)
    fits = (decoded(level, x, bounds).double() - wide).abs() <= gap
    return level.to(torch.uint8), fits.flatten(1).all(1)


def nearest_level(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The level (N, ...) float64, 0 to 255, nearest to each pixel."""
    low, high = bounds
    return ((x.double() - low) / (high - low) * 255).round().clamp(0, 255)


def decoded(levels: Tensor, like: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Levels as the pixels that a reader of the file gets, in the type of `like`: level / 255, in that type."""
    low, high = bounds
    unit = levels.to(like.dtype) / 255
    return unit if (low, high) == (0, 1) else (unit * (high - low) + low).to(like.dtype)
