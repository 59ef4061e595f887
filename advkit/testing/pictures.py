"""Images of every awkward kind, each described in a few words, so that counterexamples are short and repeatable."""

from collections.abc import Sequence

import torch
from torch import Tensor

from advkit.core.door import check_bounds, check_shape, generator
from advkit.core.errors import unknown

KINDS = ("black", "white", "flat", "one pixel", "saturated", "clipped", "faint", "uniform")


def make_images(
    kinds: Sequence[str],
    shape: tuple[int, ...] = (1, 4, 4),
    *,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Make one image of each kind; the strategy `images` draws them.

    Args:
        kinds: kind of each image: "black" or "white" (exactly at the bounds), "flat", "one pixel" (white on black),
            "saturated" (only black and white), "clipped" (in part at a bound), "faint" (near black), "uniform" noise.
        shape: shape of one image.
        seed: seed of the noise in the images.
        bounds: the range of the pixels.
        dtype: type of the pixels.

    Returns:
        (N, *shape) within bounds; entries at a bound are exactly there.

    Raises:
        UnknownNameError: there is no such kind.
        InputError: no shape, seed or range.
    """
    source, shape = generator(seed), check_shape("shape", shape)
    rows = [_image(kind, torch.rand(shape, generator=source, dtype=torch.float64)) for kind in kinds]
    stacked = torch.stack(rows) if rows else torch.zeros(0, *shape, dtype=torch.float64)
    low, high = check_bounds(bounds)
    return (stacked * (high - low) + low).to(dtype).clamp(low, high)


def _image(kind: str, row: Tensor) -> Tensor:
    images = {
        "black": torch.zeros_like(row),
        "white": torch.ones_like(row),
        "flat": torch.full_like(row, float(row.flatten()[0])),
        "one pixel": (row == row.amax()).double(),
        "saturated": row.round(),
        "clipped": (3 * row - 1).clamp(0, 1),
        "faint": row * 1e-3,
        "uniform": row,
    }
    if kind not in images:
        raise unknown("kind of image", kind, KINDS)
    return images[kind]
