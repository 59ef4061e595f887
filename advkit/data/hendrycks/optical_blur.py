"""Blur of a lens: defocus, frosted glass, motion and zoom."""

import math

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.data.hendrycks.reference_filters import correlated, disk, gaussian, motion_blurred, shuffled, zoomed


def defocus_blur(x: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """Blur with a disk of this radius, whose edge is smoothed with this standard deviation."""
    radius, sigma = strength
    return correlated(x, disk(radius, sigma, x.device))


def glass_blur(x: Tensor, strength: tuple[float, int, int], draws: Draws) -> Tensor:
    """Smooth, swap pixels with neighbours (within a distance, in several rounds), and smooth again."""
    sigma, reach, rounds = strength
    x = (gaussian(x, sigma) * 255).floor()
    for turn in range(rounds):
        x = _scattered(x, reach, draws, turn)
    return gaussian(x / 255.0, sigma).clamp(0, 1)


def _scattered(x: Tensor, reach: int, draws: Draws, turn: int) -> Tensor:
    """Each pixel reads one within `reach`, from the last to the first, those before it already replaced.

    The published loop means to swap two pixels; of its two assignments only this one has an effect. Here every pixel
    follows its pointers at once: a pointer to a pixel that was replaced before goes on to what that one reads.
    """
    height, width = x.shape[2:]
    step = torch.floor(draws.uniform(turn, (height, width, 2)) * (2 * reach)).long() - reach
    rows = torch.arange(height, device=x.device)[:, None].expand(height, width)
    columns = torch.arange(width, device=x.device)[None, :].expand(height, width)
    moves = _between(rows, reach, height) & _between(columns, reach, width)
    at = (rows * width + columns).flatten()
    target = torch.where(moves, (rows + step[..., 1]) * width + columns + step[..., 0], at.view(height, width)).flatten(
        1
    )
    goes_on = moves.flatten()[target] & (target > at) & moves.flatten()
    while goes_on.any():  # one wait for the device each time the distance doubles
        target, goes_on = (
            torch.where(goes_on, target.gather(1, target), target),
            goes_on & goes_on.gather(1, target),
        )
    return shuffled(x, target.view(-1, height, width) // width, target.view(-1, height, width) % width)


def _between(at: Tensor, reach: int, side: int) -> Tensor:
    return (at > reach) & (at <= side - reach) & (at < side)


def motion_blur(x: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """Motion blur of this radius and standard deviation, within 45 degrees of the horizontal; the result is rounded."""
    radius, sigma = strength
    return (motion_blurred(x * 255, radius, sigma, draws.uniform(0, ()) * 90 - 45)).round() / 255


def zoom_blur(x: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """Average the image and its enlargements up to the first factor, in steps of the second number."""
    stop, step = strength
    each = (1 + step) - 1  # NumPy's arange: its length from the step, its values from what the step is beside 1
    factors = [1 + k * each for k in range(math.ceil((stop - 1) / step))]
    total = x.clone()
    for factor in factors:
        total += zoomed(x, factor)
    return total / (len(factors) + 1)
