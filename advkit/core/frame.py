"""What the entries of an image are: channels, rows and columns."""

import math


def frame(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of an image of this shape; a vector is one row of pixels."""
    height, width = shape[-2:] if len(shape) > 1 else (1, shape[0])
    return math.prod(shape) // (height * width), height, width
