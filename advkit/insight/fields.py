"""Receptive fields: which pixels a unit can see, found by a pass through any network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from advkit.core.classify import looking
from advkit.core.door import check_shape
from advkit.core.errors import InputError
from advkit.core.option_numbers import shown
from advkit.core.plain import integers_in
from advkit.insight._backward import RECTIFIERS
from advkit.insight._named_layers import run_to

_POOLS = (F.max_pool2d, torch.max_pool2d)


class _Seeing(TorchFunctionMode):
    """A context in which no paths cancel: kernels are positive, rectifiers and batch norm idle, pooling takes means."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in RECTIFIERS or func in (F.batch_norm, torch.batch_norm):
            return args[0]
        if func in (F.conv2d, torch.conv2d):
            x, weight, *rest = args
            even = torch.full_like(weight, 1 / weight[0].numel())
            return func(x, even, None, *rest[1:], **{k: v for k, v in kwargs.items() if k != "bias"})
        if func in _POOLS or getattr(func, "__name__", "") in ("boolean_dispatch", "_max_pool2d"):
            return _mean_pool(*args, **kwargs)
        return func(*args, **kwargs)


def _mean_pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Return the mean of each window of a max pooling with these arguments; a dilated window includes its gaps."""
    pair = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 2
    steps = dilation if isinstance(dilation, tuple) else (dilation,) * 2
    whole = [(k - 1) * d + 1 for k, d in zip(pair, steps, strict=True)]
    return F.avg_pool2d(x, whole, stride or kernel_size, padding, ceil_mode)


def receptive_fields(
    model: nn.Module, input_shape: tuple[int, int, int], *, layer: str, positions: list[tuple[int, int]]
) -> list[tuple[int, int, int, int]]:
    """Find the boxes of pixels that the units of a layer's maps at these positions can see.

    Args:
        model: any network of convolutions and pooling.
        input_shape: shape (C, H, W) of the images.
        layer: name of the layer.
        positions: rows and columns in the layer's maps; a linear layer ignores them.

    Returns:
        For each position (top, left, bottom, right) in pixels, bottom and right excluded, cut off at the border.

    Raises:
        InputError: no such layer, no shape of an image, or a position that is none of these maps.
    """
    shape, places = check_shape("input_shape", input_shape, axes=3), _pairs(positions)
    like = next(model.parameters(), torch.empty(0))
    with looking(model, gradients=True), _Seeing():
        x = torch.full((1, *shape), 0.5, device=like.device, dtype=like.dtype).requires_grad_(True)
        output = run_to(model, x, layer)
        found: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        for place in dict.fromkeys(places):
            _check_inside(place, output)
            value = output[0, :, place[0], place[1]] if output.ndim == 4 else output[0]
            (signal,) = torch.autograd.grad(value.sum(), x, retain_graph=True)
            found[place] = _box(signal[0].abs().amax(0) > 0)
    return [found[place] for place in places]


def _pairs(positions: Any) -> list[tuple[int, int]]:
    """The rows and columns as Python's integers."""
    rows = positions.tolist() if isinstance(positions, Tensor | np.ndarray) else positions
    pairs = [integers_in(row) for row in rows] if isinstance(rows, list | tuple) else [None]
    if any(pair is None or len(pair) != 2 for pair in pairs):
        raise InputError(f"expected positions as a list of (row, column), got {shown(positions)}")
    return pairs  # type: ignore[return-value]


def _check_inside(place: tuple[int, int], output: Tensor) -> None:
    if output.ndim == 4 and not all(0 <= at < length for at, length in zip(place, output.shape[2:], strict=True)):
        size = "x".join(map(str, output.shape[2:]))
        raise InputError(f"expected positions within maps of {size}, got {shown(place)}")


def _box(seen: Tensor) -> tuple[int, int, int, int]:
    rows, columns = (seen.any(axis).nonzero()[:, 0] for axis in (1, 0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
