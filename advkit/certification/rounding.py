"""A priori bounds of the difference between floating-point and real arithmetic.

`gamma(n, u) = n u / (1 - n u)` bounds the relative error of a sum of n products in any order: Higham, Accuracy and
Stability of Numerical Algorithms, 2002, section 3.1.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.errors import warn

DOUBLE = 2.0**-53
"""The unit roundoff of float64, in which the bounds are computed."""

TF32 = 2.0**-11
"""The unit roundoff of products on a GPU that may shorten float32 factors to 10 bits.

It makes bounds useless for most networks: `torch.backends.cudnn.allow_tf32 = False` forbids it to convolutions.
"""


def gamma(n: int, u: float) -> float:
    """A bound of the relative error of n roundings of unit roundoff u; infinite where the sum has no correct digit."""
    return n * u / (1 - n * u) if n * u < 0.5 else math.inf


@dataclass(frozen=True)
class Rounding:
    """The arithmetic of the network that is certified.

    Args:
        unit: unit roundoff of its type.
        tiny: smallest normal number of its type; smaller numbers may become 0.
        largest: largest number of its type; beyond it the network answers infinity or NaN, and no bound holds.
    """

    unit: float
    tiny: float
    largest: float = math.inf

    def slack(self, size: Tensor, terms: int, width: int) -> Tensor:
        """Bound the error of a computed sum and of one step of a bound through it.

        Args:
            size: sums of absolute values, of the shape of the output (N, ...).
            terms: number of terms in a sum of the network, its bias included.
            width: number of terms in a sum of the bound, over the outputs that one input reaches or over all outputs.
        """
        relative = gamma(terms + 2, self.unit) + gamma(terms + width + 32, DOUBLE)
        return relative * size + terms * self.tiny


def rounding_of(dtype: torch.dtype, device: torch.device) -> Rounding:
    """Return the arithmetic of a network of this type on this device; warns if a GPU may shorten the factors."""
    info = torch.finfo(dtype)
    unit = info.eps / 2
    shortened = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    if device.type == "cuda" and dtype == torch.float32 and shortened:
        unit = TF32
        warn(
            "this GPU may compute in TF32, and the certificate counts its rounding, so it certifies little: set "
            "torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False"
        )
    return Rounding(unit=unit, tiny=float(info.smallest_normal), largest=float(info.max))


def check_digits(terms: int, rounding: Rounding, dtype: torch.dtype) -> None:
    """Warn if the network's sums may have no correct digit, so that no bound says anything.

    Args:
        terms: number of terms in its longest sum.
        rounding: its arithmetic.
        dtype: its type.
    """
    if math.isinf(gamma(terms + 2, rounding.unit)):
        warn(
            f"sums of {terms:,} terms in {str(dtype).removeprefix('torch.')} may have no correct digit, so "
            "no image can be certified: convert network and images, such as by model.float() and x.float()"
        )


def without_overflow(margin: Tensor, y: Tensor, fits: Tensor) -> Tensor:
    """Return the margins (N, K) with -inf where the network may overflow; 0 at y.

    Args:
        margin: lower bounds of the margins.
        y: true classes (N,).
        fits: (N,) bool, False where a number of the network may exceed the largest of its type.
    """
    margin = margin.where(fits[:, None], -math.inf)
    return margin.scatter(1, y[:, None], 0.0)


EXACT = Rounding(unit=0.0, tiny=0.0)
"""Real arithmetic: only the rounding of the bound itself counts."""
