"""JPEG with a derivative: Shin and Song, "JPEG-resistant adversarial images" (NIPS workshop on machine learning and
computer security, 2017).

The codec is a change of colours, a cosine transform of blocks of 8 x 8, a division by a table, a rounding, and the same
way back. Only the rounding has no derivative of use. It becomes `round(c) + (c - round(c))^3`, whose derivative is
large where a coefficient is about to change its level.
"""

import io
import math
from functools import cache

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

FLOOR = 0.3
"""Least derivative of the rounding: a coefficient in the middle of its level is not lost to the attack."""

COLOURS = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Y, Cb and Cr as sums of red, green and blue (JFIF)."""


def soft_jpeg(x: Tensor, quality: int, *, floor: float = FLOOR) -> Tensor:
    """Images as JPEG would show them, up to a level or two, with a derivative.

    Args:
        x: images (N, C, H, W) in [0, 1] of one or three channels.
        quality: quality of the JPEG, 1 to 100.
        floor: least derivative of the rounding.
    """
    tables = [torch.tensor(t, dtype=x.dtype, device=x.device) for t in _tables(quality)]
    _, C, H, W = x.shape
    side = 8 if C == 1 else 16
    levels = F.pad(x * 255, [0, -W % side, 0, -H % side], mode="replicate")
    if C == 1:
        return _coded(levels, tables[0], floor)[..., :H, :W] / 255
    colours = x.new_tensor(COLOURS)
    parts = torch.einsum("kc,nchw->nkhw", colours, levels)
    light = _coded(parts[:, :1], tables[0], floor)
    chroma = _coded(F.avg_pool2d(parts[:, 1:], 2) + 128, tables[1], floor) - 128  # a quarter of the pixels
    parts = torch.cat([light, F.interpolate(chroma, scale_factor=2.0, mode="bilinear")], 1)
    return torch.einsum("ck,nkhw->nchw", torch.linalg.inv(colours), parts)[..., :H, :W] / 255


def _coded(levels: Tensor, table: Tensor, floor: float) -> Tensor:
    """One kind of channel (N, C, H, W) in levels, there and back; H and W are multiples of 8."""
    N, C, H, W = levels.shape
    D = _cosines(levels)
    blocks = levels.view(N, C, H // 8, 8, W // 8, 8).transpose(3, 4) - 128  # (N, C, H/8, W/8, 8, 8)
    back = D.T @ (_rounded(D @ blocks @ D.T / table, floor) * table) @ D
    return back.transpose(3, 4).reshape(N, C, H, W) + 128


def _rounded(c: Tensor, floor: float) -> Tensor:
    """round(c), with the derivative 3 (c - round(c))^2 + floor."""
    nearest = c.detach().round()
    rest = c - nearest
    soft = rest**3 + floor * rest
    return nearest + soft - soft.detach()


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal cosine transform (8, 8): row k holds the wave of frequency k."""
    k = torch.arange(8, dtype=like.dtype, device=like.device)
    waves = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) / 2
    return torch.cat([waves[:1] / math.sqrt(2), waves[1:]])


@cache
def _tables(quality: int) -> list[list[list[int]]]:
    """The tables (8, 8) of brightness and of colour that Pillow divides by."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    found = Image.open(file).quantization  # type: ignore[attr-defined]
    return [[list(found[i][8 * row : 8 * row + 8]) for row in range(8)] for i in (0, 1)]
