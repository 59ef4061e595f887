"""From one activation back to the pixels: Zeiler and Fergus's deconvolution network, 2013, sec. 2.1, arXiv 1311.2901.

Unpool by the recorded switches, rectify, filter with the transposed kernels. That is the backward pass of the network
in which a rectifier rectifies the signal and forgets its own input, so it goes through every layer that torch can
differentiate: strides, padding, groups, 1x1 convolutions, branches (their signals add up), batch normalisation. Where
windows of a pooling overlap, their signals add up too. Local response normalisation divides by the scales of the
forward pass. Guided backpropagation (Springenberg et al. 2014, arXiv 1412.6806) lets a signal through a rectifier only
where its input was positive as well.
"""

import numpy as np
import torch
from torch import Tensor, nn

from advkit.core.classify import looking
from advkit.core.door import check_batch
from advkit.core.errors import InputError, check_given, unknown
from advkit.core.option_numbers import shown
from advkit.core.plain import integers_in, is_integer, plain
from advkit.insight._backward import METHODS, backward_by
from advkit.insight._named_layers import AXES, run_to

Position = tuple[int, int] | str


def deconv(
    model: nn.Module,
    x: Tensor,
    *,
    layer: str,
    unit: int | None = None,
    position: Position = "strongest",
    method: str = "deconv",
) -> Tensor:
    """Project activations of a layer back to the pixels, each image by itself.

    Args:
        model: any network; it is left as it was.
        x: images (N, C, H, W) in the range that the model takes.
        layer: name of a module; its activations are the signal that goes back.
        unit: number of the map, or of the unit of a linear layer; None takes all at once.
        position: row and column in the map, "strongest" (where the map is largest in each image), or "all".
        method: "deconv", "guided", or "gradient" (the plain gradient times the activation).

    Returns:
        (N, C, H, W) in activations per pixel unit, detached; zero where the activation is zero.

    Raises:
        InputError: no such layer, unit, position or method; x is no batch of floating-point images.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    check_given("model", model, nn.Module, "a network (an nn.Module)")
    check_batch(x, AXES)
    with looking(model, x.device, gradients=True), backward_by(method, model):
        pixels = x.detach().clone().requires_grad_(True)
        output = run_to(model, pixels, layer)
        signal = output.detach() * chosen(output.detach(), unit, position)
        (back,) = torch.autograd.grad(output, pixels, signal)
    return back.detach()


def chosen(output: Tensor, unit: int | None, position: Position) -> Tensor:
    """Return 1 at the activations that are projected back and 0 elsewhere, in the shape of the output (N, ...).

    Raises:
        InputError: no such unit or position.
    """
    unit = plain(unit)
    if unit is not None and not (is_integer(unit) and 0 <= unit < output.shape[1]):
        raise InputError(f"expected a unit in 0 .. {output.shape[1] - 1} of this layer, got {shown(unit)}")
    mask = torch.ones_like(output) if unit is None else torch.zeros_like(output)
    if unit is not None:
        mask[:, unit] = 1
    position = tuple(position.tolist()) if isinstance(position, Tensor | np.ndarray) and position.ndim else position
    if position == "all" or (output.ndim == 2 and unit is not None and position == "strongest"):
        return mask
    if position == "strongest":
        best = output.masked_fill(mask == 0, -torch.inf).flatten(1).argmax(1)  # (N,)
        return torch.zeros_like(output.flatten(1)).scatter(1, best[:, None], 1).view_as(output)
    return mask * _place(output, position)


def _place(output: Tensor, position: Position) -> Tensor:
    """Return 1 at a row and column of all maps, 0 elsewhere."""
    size = tuple(output.shape[2:])
    pair = integers_in(position)
    if pair is None or len(pair) != 2 or len(size) != 2:
        raise InputError(f'expected position as (row, column) of maps, "strongest" or "all", got {shown(position)}')
    row, column = pair
    if not (0 <= row < size[0] and 0 <= column < size[1]):
        raise InputError(f"expected a position within maps of {size[0]}x{size[1]}, got {shown(position)}")
    place = torch.zeros_like(output)
    place[:, :, row, column] = 1
    return place
