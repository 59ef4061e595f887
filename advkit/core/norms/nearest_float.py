"""Rounding to a float type: the next float in a direction, and rounding that never moves away from a point."""

import torch
from torch import Tensor


def step_toward(values: Tensor, goal: Tensor) -> Tensor:
    """Move each value to the next float of its type in the direction of `goal`; equal values stay."""
    if values.dtype in (torch.float32, torch.float64):
        return torch.nextafter(values, goal)
    bits = values.contiguous().view(torch.int16)  # floats of one sign are ordered as their bits
    away = torch.where((goal > values) == (values > 0), 1, -1).to(torch.int16)
    tiny = torch.where(goal > 0, 1, torch.iinfo(torch.int16).min + 1).to(torch.int16)  # next to 0
    moved = torch.where(values == 0, tiny, bits + away).view(values.dtype)
    return torch.where(goal == values, values, moved)


def rounded_toward(x: Tensor, point: Tensor) -> Tensor:
    """Round `point` (float64) to x's type, such that no entry moves away from x."""
    near, x_ = point.to(x.dtype), x.double()
    return torch.where((near.double() - x_).abs() > (point - x_).abs(), step_toward(near, x), near)
