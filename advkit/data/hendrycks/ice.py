"""Pictures of frost: from a folder, or drawn. The authors' six photographs cannot be shipped with the package."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.data.hendrycks.weather import plasma

NAMES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""The photographs that the authors' scripts choose from; they have a sixth and never draw it."""


def drawn_ice(x: Tensor, draws: Draws) -> Tensor:
    """Draw ice (N, C, H, W) in [0, 1] without photographs: bright veins along the level lines of a rough landscape.

    Its mean and standard deviation are near those of the photographs (0.5 and 0.2); its shapes are different.
    """
    height, width = x.shape[2:]
    land = plasma(height, width, 1.6, draws)
    veins = 1 - (2 * (land * 6).frac() - 1).abs()
    ice = 0.25 + 0.35 * veins**2 + 0.3 * plasma(height, width, 2.0, draws.branch(1))
    tint = torch.tensor([0.92, 1.0, 1.08], dtype=x.dtype, device=x.device)[:, None, None]
    return (ice * tint).clamp(0, 1) if x.shape[1] == 3 else ice.clamp(0, 1)


def photographed_ice(x: Tensor, draws: Draws, folder: Path, *, shrink: bool) -> Tensor:
    """Return a random part (N, C, H, W) of one of the photographs in a folder.

    Args:
        x: the images.
        draws: the random numbers.
        folder: folder that holds `NAMES`.
        shrink: whether the photographs are taken at a fifth of their size, as for CIFAR.

    Raises:
        InputError: a photograph is missing, cannot be read or is smaller than the images.
    """
    pictures = [_photograph(folder / name, shrink=shrink) for name in NAMES]
    which, top, left = (draws.uniform(step, ()).tolist() for step in (0, 1, 2))
    height, width = x.shape[2:]
    parts = []
    for n, u in enumerate(which):
        picture = pictures[int(u * len(pictures))]
        room = picture.shape[1] - height, picture.shape[2] - width
        if min(room) <= 0:
            raise InputError(f"the photographs in {folder} are smaller than the images, {height}x{width}")
        row, column = int(top[n] * room[0]), int(left[n] * room[1])
        parts.append(picture[:, row : row + height, column : column + width])
    ice = torch.stack(parts).to(x.device)
    return ice if x.shape[1] == 3 else ice.mean(1, keepdim=True)


def _photograph(path: Path, *, shrink: bool) -> Tensor:
    """(3, H, W) float64 in [0, 1]."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels: Any = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"cannot read {path} ({type(error).__name__}): expected {', '.join(NAMES)} of hendrycks/robustness"
        ) from error
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).double()
    if shrink:  # OpenCV's resize by a fifth looks up the middle one of five pixels
        rows, columns = (
            (torch.arange(round(side / 5), device="cpu") * 5 + 2).clamp(max=side - 1) for side in image.shape[1:]
        )
        image = image[:, rows][:, :, columns]
    return image / 255
