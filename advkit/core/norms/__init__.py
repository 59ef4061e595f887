"""The norms: the only folder that depends on p, with one norm a file.

A perturbation is a tensor (N, ...) with one row a sample; every method works row by row. `eps` is a number, or a
tensor (N, 1, ...) that broadcasts against the rows.
"""

from advkit.core.errors import unknown
from advkit.core.norms.l0 import L0, L0Pixels
from advkit.core.norms.l1 import L1
from advkit.core.norms.l2 import L2
from advkit.core.norms.linf import LInf
from advkit.core.norms.nearest_float import rounded_toward, step_toward
from advkit.core.norms.norm import Norm, Shrinking
from advkit.core.norms.row_by_row import per_row

__all__ = [
    "L0",
    "L1",
    "L2",
    "NORMS",
    "L0Pixels",
    "LInf",
    "Norm",
    "Shrinking",
    "get_norm",
    "per_row",
    "rounded_toward",
    "step_toward",
]

NORMS: dict[str, Norm] = {norm.name: norm for norm in (LInf(), L2(), L1(), L0(), L0Pixels())}


def get_norm(name: str) -> Norm:
    """Return the norm called `linf`, `l2`, `l1`, `l0` or `l0_pixels`.

    Raises:
        UnknownNameError: any other name.
    """
    if name not in NORMS:
        raise unknown("norm", str(name), NORMS)
    return NORMS[name]
