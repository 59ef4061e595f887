"""What kind of value a caller gave: Python's own numbers, whatever library made them."""

import math
import numbers
from typing import Any

import numpy as np
from torch import Tensor

MOST_REAL = 2**1023
"""Integers of this size and more are refused as real numbers: beyond twice as much no float holds them."""


def plain(value: Any) -> Any:
    """Convert a scalar of NumPy, torch (0 dimensions) or `fractions` to a Python number; leave anything else."""
    if isinstance(value, Tensor | np.ndarray | np.generic) and value.ndim == 0:
        return value.item()
    if isinstance(value, numbers.Real) and not isinstance(value, int | float):
        return float(value)
    return value


def is_real(value: Any) -> bool:
    """Whether it is a number, and an integer that a float can hold."""
    return isinstance(value, float) or (is_integer(value) and abs(value) < MOST_REAL)


def numbers_in(value: Any) -> tuple[float, ...] | None:
    """Return the numbers of a scalar, list, tuple, or array or tensor with at most one long axis; None for others."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        value = value.reshape(-1).tolist() if max(value.shape) == math.prod(value.shape) else None
    parts = [plain(part) for part in (value if isinstance(value, list | tuple) else [value])]
    return tuple(map(float, parts)) if parts and all(map(is_real, parts)) else None


def integers_in(value: Any) -> tuple[int, ...] | None:
    """Return the integers of a list, tuple, or array or tensor with one axis; None for anything else."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist() if value.ndim == 1 else None
    parts = [plain(part) for part in value] if isinstance(value, list | tuple) else [None]
    return tuple(map(int, parts)) if all(map(is_integer, parts)) else None  # type: ignore[arg-type]


def is_integer(value: Any) -> bool:
    """Whether it is a whole number, and not True or False."""
    return isinstance(value, int) and not isinstance(value, bool)


def kind(value: Any) -> str:
    """Return the name of a value's type, for a message."""
    return type(value).__name__
