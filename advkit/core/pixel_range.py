"""The range of the pixels that a function of images takes, and points that leave it on purpose."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from advkit.core.errors import InputError

Bounds = tuple[float, float]
"""The lowest and the highest value of a pixel."""

_leaving: list[bool] = []
"""One entry for each block of `leaving_range` that is open, in any thread: a model that is copied over several devices
(`DataParallel`) is asked in threads of its own, which see no context variable. One attack at a time asks a model."""


@contextmanager
def leaving_range() -> Iterator[None]:
    """Context manager: inside the block points outside the range are asked about on purpose, and none is refused."""
    _leaving.append(True)
    try:
        yield
    finally:
        _leaving.pop()


def check_range(what: str, x: Tensor, bounds: Bounds) -> None:
    """Check that the images (N, ...) lie in the stated range, up to rounding; one host sync.

    Raises:
        InputError: no floating-point tensor; a pixel that is NaN or lies outside. Pixels are not looked at inside
            `leaving_range`, nor while torch compiles or records a model, when they have no values.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        seen = x.dtype if isinstance(x, Tensor) else type(x).__name__
        advice = "x.float()" if tuple(bounds) == (0, 255) else "x.float() / 255"
        raise InputError(f"{what} takes images as a floating-point tensor, got {seen}; 8-bit images: {advice}")
    if x.layout is not torch.strided:
        raise InputError(f"{what} takes images that hold all their values, got {x.layout}: x.to_dense() fills them")
    if _leaving or x.is_meta or not x.numel() or torch.compiler.is_compiling() or torch._is_functional_tensor(x):
        return
    low, high = torch.stack(torch.aminmax(x.detach())).tolist()
    slack = 16 * torch.finfo(x.dtype).eps * max(map(abs, bounds))
    if low != low:  # the least entry is NaN where any is
        raise InputError(f"{what} takes pixels in [{bounds[0]:g}, {bounds[1]:g}], the images contain NaN")
    if not (low >= bounds[0] - slack and high <= bounds[1] + slack):
        raise InputError(
            f"{what} takes pixels in [{bounds[0]:g}, {bounds[1]:g}], saw {low:.6g} to {high:.6g}: "
            "state the range of your pixels by bounds=(low, high)"
        )


def to_unit(x: Tensor, bounds: Bounds) -> Tensor:
    """Map pixels from their range to [0, 1]; the range [0, 1] itself is left as it is."""
    low, high = bounds
    return x if (low, high) == (0, 1) else (x - low) / (high - low)


def from_unit(x: Tensor, bounds: Bounds) -> Tensor:
    """Map pixels from [0, 1] to their range; the inverse of `to_unit`."""
    low, high = bounds
    return x if (low, high) == (0, 1) else x * (high - low) + low


def onto(black: float, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `change(x)` for a change of images that takes 0 for black, with another value as black.

    Args:
        black: the value of a black pixel, the lower end of the range.
        x: images (N, ...).
        change: function of images, such as a shift that leaves 0 behind.
    """
    return change(x - black) + black if black else change(x)
