"""Weather in the way: snow, frost, fog and bright light."""

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.data.hendrycks.reference_filters import motion_blurred, zoomed

GREY = (0.299, 0.587, 0.114)


def snow(x: Tensor, strength: tuple[float, ...], draws: Draws) -> Tensor:
    """Flakes (mean, deviation, zoom, threshold) that fall (radius, deviation) before an image lightened to a share."""
    mean, deviation, zoom, threshold, radius, sigma, kept = strength
    flakes = mean + deviation * draws.normal(0, (1, *x.shape[2:]))
    flakes = zoomed(flakes, zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    flakes = (flakes * 255).floor()
    flakes = motion_blurred(flakes, radius, sigma, draws.uniform(1, ()) * 90 - 135).round() / 255
    light = kept * x + (1 - kept) * torch.maximum(x, grey(x) * 1.5 + 0.5)
    return light + flakes + flakes.rot90(2, (2, 3))


def grey(x: Tensor) -> Tensor:
    """(N, 1, H, W): the brightness that the eye sees."""
    weights = torch.tensor(GREY, dtype=x.dtype, device=x.device)[:, None, None]
    return x if x.shape[1] == 1 else (x * weights).sum(1, keepdim=True)


def fog(x: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """A cloud of this thickness, whose detail decays by this factor."""
    thickness, decay = strength
    brightest = x.amax((1, 2, 3), keepdim=True)
    height, width = x.shape[2:]
    cloud = plasma(height, width, decay, draws)
    return (x + thickness * cloud) * brightest / (brightest + thickness)


def plasma(height: int, width: int, decay: float, draws: Draws) -> Tensor:
    """(N, 1, height, width) in [0, 1]: a landscape by the diamond-square algorithm, joined at its edges.

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
    """Shares of the image and of a picture of ice (N, C, H, W)."""
    kept, laid = strength
    return kept * x + laid * ice


def brightness(x: Tensor, by: float, draws: Draws) -> Tensor:
    """The brightest channel of each pixel up by this, the others in proportion: hue and saturation stay."""
    value = x.amax(1, keepdim=True)
    raised = (value + by).clamp(0, 1)
    return torch.where(value > 0, x / value.clamp(min=1e-12) * raised, raised)
