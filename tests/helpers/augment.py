"""Images for augmentations, and the random numbers that they are given."""

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.training.augment import Numbers

N, H, W = 6, 20, 24


def images(n: int = N, height: int = H, width: int = W, channels: int = 3) -> Tensor:
    """Random pixels, float64, exact zeros and ones among them."""
    x = torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return x.mul(1.2).sub(0.1).clamp(0, 1)


def draws(n: int = N, seed: int = 0) -> Draws:
    return Draws(seed, torch.arange(10, 10 + n))


def numbers(n: int = N, step: int = 0) -> Numbers:
    """What a call with `draws()` gives to the augmentation."""
    return Numbers(draws(n), step, n, torch.device("cpu"))
