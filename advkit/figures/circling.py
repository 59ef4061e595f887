"""Moving pictures of spatial transformers: the objects go round, and the sampling grids follow."""

import io
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.core.errors import InputError
from advkit.insight.tracking import brightness_middle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RADIUS, SWING = 0.3, 30.0
"""Radius of the circle in halves of the image's side; largest angle of the turn in degrees."""

DPI, FRAME_MS = 72, 90


def circling(x: Tensor, frames: int) -> Tensor:
    """Images whose light object goes round once and swings to and fro: (T, N, C, H, W).

    The middle of the brightness of each channel moves on a circle around the image's middle; the channels are half a
    circle apart. In frame t of T an object is turned by 30 degrees times `sin(2 pi t / T)`.

    Args:
        x: images (N, C, H, W) in [0, 1], light objects on black.
        frames: number T of positions.

    Raises:
        InputError: fewer than two positions.
    """
    if frames < 2:
        raise InputError(f"expected two positions or more, got {frames}")
    channels = x.flatten(0, 1)[:, None]  # (N C, 1, H, W)
    middle = brightness_middle(channels)[:, 0].to(x.dtype)  # (N C, 2)
    lag = math.pi * torch.arange(x.shape[1], device=x.device, dtype=x.dtype).repeat(len(x))
    made = []
    for t in range(frames):
        phase = 2 * math.pi * t / frames
        place = RADIUS * torch.stack([(phase + lag).cos(), (phase + lag).sin()], 1)  # (N C, 2)
        angle = math.radians(SWING) * math.sin(phase)
        R = x.new_tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        theta = torch.cat([R.expand(len(place), 2, 2), (middle - place @ R.T)[:, :, None]], 2)  # (N C, 2, 3)
        grid = F.affine_grid(theta, list(channels.shape), align_corners=False)
        made.append(F.grid_sample(channels, grid, align_corners=False).view_as(x))
    return torch.stack(made)


def animation(figures: Sequence["Figure"], path: str | os.PathLike[str]) -> None:
    """Write figures of one size as an endless GIF.

    Args:
        figures: the frames, one or more.
        path: the file to write.

    Raises:
        InputError: no frame.
    """
    from PIL import Image

    if not figures:
        raise InputError("expected one frame or more, got none")
    frames = []
    for figure in figures:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI)
        frames.append(Image.open(file).convert("P", palette=Image.Palette.ADAPTIVE, colors=128))
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
