"""Digital corruptions: contrast, elastic deformation, pixelation, JPEG."""

from io import BytesIO
from typing import Any

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.data.hendrycks.reference_filters import MIRRORED, SYMMETRIC, gaussian, sampled


def contrast(x: Tensor, share: float, draws: Draws) -> Tensor:
    """Scale the distance of each pixel to the mean of its channel by this factor."""
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * share + mean


def elastic_transform(x: Tensor, strength: tuple[float, float, float], draws: Draws) -> Tensor:
    """Moved by a smooth field (its size, its smoothness), after an affine move of three points by this many pixels."""
    size, sigma, shift = strength
    height, width = x.shape[2:]
    x = _affine(x.float().double(), shift, draws)
    down, right = (
        (gaussian(draws.uniform(step, (height, width)) * 2 - 1, sigma, SYMMETRIC, 3.0) * size).float().double()
        if size
        else torch.zeros(1, 1, 1, dtype=torch.float64, device=x.device)
        for step in (2, 1)
    )
    rows = torch.arange(height, device=x.device)[:, None] + down
    columns = torch.arange(width, device=x.device)[None, :] + right
    shape = (len(x), height, width)
    return sampled(x, rows.expand(shape), columns.expand(shape), SYMMETRIC)


def _affine(x: Tensor, shift: float, draws: Draws) -> Tensor:
    """The affine map that moves three points near the middle, sampled as OpenCV does: at 32nds of a pixel."""
    height, width = x.shape[2:]
    first, second = float(height // 2), float(width // 2)
    third = min(height, width) // 3
    points = torch.tensor(
        [[first + third, second + third], [first + third, second - third], [first - third, second - third]],
        dtype=torch.float64,
        device=x.device,
    ).expand(len(x), 3, 2)
    moved = (points + (draws.uniform(0, (3, 2)) * (2 * shift) - shift).float().double()).float().double()
    one = torch.ones(len(x), 3, 1, dtype=torch.float64, device=x.device)
    back = torch.linalg.solve(torch.cat([moved, one], 2), points)  # (N, 3, 2): moved (x, y, 1) -> source (x, y)
    across = torch.arange(width, dtype=torch.float64, device=x.device)[None, None, :]
    along = torch.arange(height, dtype=torch.float64, device=x.device)[None, :, None]
    columns, rows = (
        _fixed(back[:, 0, k, None, None] * across, back[:, 1, k, None, None] * along + back[:, 2, k, None, None])
        for k in (0, 1)
    )
    return sampled(x, rows, columns, MIRRORED)


def _fixed(of_column: Tensor, of_row: Tensor) -> Tensor:
    """The sum of two parts of a position, each rounded to 1024ths, the sum to 32nds."""
    whole = (of_column * 1024).round() + (of_row * 1024).round() + 16
    return (whole / 32).floor() / 32


def pixelate(x: Tensor, share: float, draws: Draws) -> Tensor:
    """Shrink the image to this fraction of its sides and enlarge it again, with box filters."""
    from PIL import Image

    height, width = x.shape[2:]
    small = int(width * share), int(height * share)

    def change(picture: Any) -> Any:
        return picture.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX)

    return _by_picture(x, change)


def jpeg_compression(x: Tensor, quality: int, draws: Draws) -> Tensor:
    """Save the image as JPEG of this quality and read it again."""
    from PIL import Image

    def change(picture: Any) -> Any:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_picture(x, change)


def _by_picture(x: Tensor, change: Any) -> Tensor:
    """What Pillow makes of each image of x (N, C, H, W) of 256 levels."""
    import numpy as np
    from PIL import Image

    if not len(x):
        return x
    pixels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()  # (N, H, W, C)
    pixels = pixels[..., 0] if pixels.shape[3] == 1 else pixels
    made = np.stack([np.asarray(change(Image.fromarray(image))) for image in pixels])
    made = made[..., None] if made.ndim == 3 else made
    return torch.from_numpy(made.copy()).to(x.device).permute(0, 3, 1, 2).double() / 255
