"""Cosine waves: the orthonormal transform (DCT-II) of images, whose lowest frequencies are smooth perturbations."""

import math

import torch
from torch import Tensor

from advkit.core.frame import frame


def rings(shape: tuple[int, ...], share: float) -> Tensor:
    """(D,) int64, for each wave: the larger of the excesses of its two frequencies over the lowest ones.

    It is 0 for the lowest `share` along each side, at least one.
    """
    channels, height, width = frame(shape)
    above = [torch.arange(side, device="cpu") + 1 - max(1, round(share * side)) for side in (height, width)]
    ring = torch.maximum(above[0][:, None], above[1]).clamp(min=0)
    return ring.expand(channels, -1, -1).flatten()


def waves(index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(M, ...) float64: the wave of the orthonormal cosine transform (DCT-II) with this number (M,), in one channel."""
    channels, height, width = frame(shape)
    channel, place = index // (height * width), index % (height * width)
    wave = cosine(place // width, height)[:, :, None] * cosine(place % width, width)[:, None]  # (M, H, W)
    here = torch.arange(channels, device=index.device) == channel[:, None]  # (M, C)
    return (here[:, :, None, None] * wave[:, None]).view(-1, *shape)


def cosine(frequency: Tensor, length: int) -> Tensor:
    """(M, length) float64: unit vectors of the transform along one side."""
    places = torch.arange(length, dtype=torch.float64, device=frequency.device)
    wave = torch.cos(math.pi / length * (places + 0.5) * frequency[:, None])
    return wave * torch.where(frequency == 0, (1 / length) ** 0.5, (2 / length) ** 0.5)[:, None]


def smooth(coefficients: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(M, C, h, w), the coefficients of the lowest waves of each channel -> (M, *shape), their sum."""
    _, height, width = frame(shape)
    rows, columns = (
        cosine(torch.arange(count, device=coefficients.device), length).to(coefficients.dtype)
        for count, length in zip(coefficients.shape[2:], (height, width), strict=True)
    )
    return (rows.T @ coefficients @ columns).reshape(-1, *shape)
