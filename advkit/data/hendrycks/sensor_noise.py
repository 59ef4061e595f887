"""Noise of a camera: gaussian, shot and impulse noise."""

import math

import torch
from torch import Tensor

from advkit.core.draws import Draws


def gaussian_noise(x: Tensor, scale: float, draws: Draws) -> Tensor:
    """Add normal noise of this standard deviation to every value."""
    return x + scale * draws.normal(0, tuple(x.shape[1:]))


def shot_noise(x: Tensor, photons: float, draws: Draws) -> Tensor:
    """Replace every value by a Poisson count, whose mean at white is this number, divided by it."""
    return poisson(x, photons, draws.uniform(0, tuple(x.shape[1:]))) / photons


def poisson(x: Tensor, photons: float, u: Tensor) -> Tensor:
    """Return the Poisson quantile at u for the mean `x * photons`, x having 256 levels in [0, 1].

    All quantiles come from one sorted table: level k holds its distribution, shifted by k.
    """
    most = math.ceil(photons + 12 * math.sqrt(photons) + 20)
    counts = torch.arange(most, dtype=torch.float64, device=x.device)
    means = (torch.arange(256, dtype=torch.float64, device=x.device) / 255.0 * photons)[:, None]
    log_mass = torch.special.xlogy(counts, means) - means - torch.lgamma(counts + 1)  # (256, most)
    below = log_mass.exp().cumsum(1).clamp(max=1.0)
    below[:, -1] = 1.0
    level = (x * 255.0).round()
    table = (below + torch.arange(256, dtype=torch.float64, device=x.device)[:, None]).flatten()
    return torch.searchsorted(table, u + level).double() - level * most


def impulse_noise(x: Tensor, share: float, draws: Draws) -> Tensor:
    """Set this fraction of the values to black or white with equal probability."""
    hit, white = (draws.uniform(0, tuple(x.shape[1:]), stream) for stream in (0, 1))
    return torch.where(hit <= share, (white <= 0.5).double(), x)
