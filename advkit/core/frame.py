"""The channels, rows and columns of an image."""

import math


def frame(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return channels, height and width of an image of this shape; a vector counts as one row of pixels."""
    height, width = shape[-2:] if len(shape) > 1 else (1, shape[0])
    return math.prod(shape) // (height * width), height, width
