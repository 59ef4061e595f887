"""What counts as a success: `attack(model, x, y, goal=...)`."""

from advkit.core.wishes import (
    Wish,
    confident,
    multi_label,
    one_logit,
    regression,
    segmentation,
    target,
    top_k,
    untargeted,
)

__all__ = [
    "Wish",
    "confident",
    "multi_label",
    "one_logit",
    "regression",
    "segmentation",
    "target",
    "top_k",
    "untargeted",
]
