"""Weather corruptions: snow, frost, fog and brightness."""

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.data.hendrycks.reference_filters import motion_blurred, zoomed

GREY = (0.299, 0.587, 0.114)


def snow(x: Tensor, strength: tuple[float, ...], draws: Draws) -> Tensor:
    """Draw flakes (mean, deviation, zoom, threshold) that fall (radius, deviation) in front of a lightened image."""
    mean, deviation, zoom, threshold, radius, sigma, kept = strength
    flakes = mean + deviation * draws.normal(0, (1, *x.shape[2:]))
    flakes = zoomed(flakes, zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    flakes = (flakes * 255).floor()
    flakes = motion_blurred(flakes, radius, sigma, draws.uniform(1, ()) * 90 - 135).round() / 255
    light = kept * x + (1 - kept) * torch.maximum(x, grey(x) * 1.5 + 0.5)
    return light + flakes + flakes.rot90(2, (2, 3))


def grey(x: Tensor) -> Tensor:
    """Return the luma (N, 1, H, W) of the image."""
    weights = torch.tensor(GREY, dtype=x.dtype, device=x.device)[:, None, None]
    return x if x.shape[1] == 1 else (x * weights).sum(1, keepdim=True)


def fog(x: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """Add a cloud of this thickness, whose detail decays by this factor."""
    thickness, decay = strength
    brightest = x.amax((1, 2, 3), keepdim=True)
    height, width = x.shape[2:]
    cloud = plasma(height, width, decay, draws)
    return (x + thickness * cloud) * brightest / (brightest + thickness)


def plasma(height: int, width: int, decay: float, draws: Draws) -> Tensor:
    """Draw a landscape (N, 1, height, width) in [0, 1] by the diamond-square algorithm, periodic at its edges.

    Args:
        height, width: size; a square of the next power of two is made and cut.
        decay: factor by which the noise shrinks from each scale to the next.
        draws: the random numbers.
    """
    side = 1 << (max(height, width) - 1).bit_length()
    land = torch.zeros(len(draws.sample_ids), side, side, dtype=torch.float64, device=draws.sample_ids.device)
    step, noise, turn = side, 100.0, 0

    def raised(corners: Tensor) -> Tensor:
        nonlocal turn
        turn += 1
        span = draws.uniform(turn, tuple(corners.shape[1:])) * (2 * noise) - noise
        return corners / 4 + noise * span

    while step >= 2:
        half = step // 2
        corners = land[:, ::step, ::step]
        squares = corners + corners.roll(-1, 1)
        land[:, half::step, half::step] = raised(squares + squares.roll(-1, 2))
        middle = land[:, half::step, half::step]
        sides = middle + middle.roll(1, 1) + corners + corners.roll(-1, 2)
        land[:, ::step, half::step] = raised(sides)
        sides = middle + middle.roll(1, 2) + corners + corners.roll(-1, 1)
        land[:, half::step, ::step] = raised(sides)
        step, noise = half, noise / decay
    land = land - land.amin((1, 2), keepdim=True)
    return (land / land.amax((1, 2), keepdim=True))[:, None, :height, :width]


def frost(x: Tensor, strength: tuple[float, float], draws: Draws, ice: Tensor) -> Tensor:
    """Mix the image and a picture of ice (N, C, H, W) by these two factors."""
    kept, laid = strength
    return kept * x + laid * ice


def brightness(x: Tensor, by: float, draws: Draws) -> Tensor:
    """Raise the brightest channel of each pixel by this number, and the others in proportion, as in HSV."""
    value = x.amax(1, keepdim=True)
    raised = (value + by).clamp(0, 1)
    return torch.where(value > 0, x / value.clamp(min=1e-12) * raised, raised)
