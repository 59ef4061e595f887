"""What counts as a success: `attack(model, x, y, goal=...)`, `evaluate(..., goal=...)`, `--goal "top_k(k=5)"`."""

from advkit.core.named_goals import (
    confident,
    multi_label,
    one_logit,
    regression,
    segmentation,
    target,
    top_k,
    untargeted,
)
from advkit.core.wishes import GOALS, Wish

__all__ = [
    "GOALS",
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
