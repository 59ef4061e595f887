"""Pictures, drawn by matplotlib without touching its global state."""

from advkit.figures._charts import (
    attack_picture,
    certified_curve,
    compared_bars,
    error_bars,
    error_curves,
    result_picture,
    transfer_table,
)
from advkit.figures._examples import examples

__all__ = [
    "attack_picture",
    "certified_curve",
    "compared_bars",
    "error_bars",
    "error_curves",
    "examples",
    "result_picture",
    "transfer_table",
]
