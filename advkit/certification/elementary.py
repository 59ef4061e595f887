"""Nodes with interval bounds only: products, powers and quotients of values that depend on the image.

Local response normalisation uses them. Linear bounds do not pass through them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Product:
    """z1 z2, entry by entry."""

    name: str = "a product of two layers"

    def interval(self, low: Tensor, high: Tensor, low2: Tensor, high2: Tensor) -> tuple[Tensor, Tensor]:
        """Bound by the least and the largest of the four products of ends."""
        corners = torch.stack([low * low2, low * high2, high * low2, high * high2])
        return corners.amin(0), corners.amax(0)


@dataclass(frozen=True, kw_only=True)
class Power:
    """z^p, entry by entry.

    Args:
        p: the exponent; z has to be > 0 if p is not a whole number >= 0.
    """

    p: float
    name: str = "a power of a layer"

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bound the power, which is monotone on either side of 0.

        Raises:
            InputError: the power is not defined on the whole interval.
        """
        if (self.p < 0 or self.p != int(self.p)) and not bool((low > 0).all()):
            raise InputError(f"no bound of z^{self.p:g}: z may be 0 or negative in the ball")
        ends = torch.stack([low**self.p, high**self.p])
        least, most = ends.amin(0), ends.amax(0)
        crosses = (low < 0) & (high > 0) & (self.p > 0) & (self.p % 2 == 0)
        return torch.where(crosses, 0.0, least), most
