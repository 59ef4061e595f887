"""Float64 where the device has it, and on the CPU where it has not."""

from typing import Any

from torch import Tensor

WITHOUT_FLOAT64 = ("mps",)


def lacks_float64(x: Any) -> bool:
    """Return whether this tensor is on a device that cannot compute in float64."""
    return isinstance(x, Tensor) and x.device.type in WITHOUT_FLOAT64


def in_float64(x: Tensor) -> Tensor:
    """Convert to float64; a tensor of a device without float64 moves to the CPU."""
    return (x.cpu() if lacks_float64(x) else x).double()
