"""What an attack climbs: (goal, logits) -> (N,), larger = more adversarial, one number a sample, never averaged.

Computed in float32 or better, whatever the model's type.
"""

import warnings
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from advkit.core.errors import AdvkitWarning, unknown
from advkit.core.goals import Goal, wide

Loss = Callable[[Goal, Tensor], Tensor]


def cross_entropy(goal: Goal, logits: Tensor) -> Tensor:
    """J of the label to leave, or minus J of the target (Goodfellow et al. 2014, arXiv 1412.6572)."""
    return goal.sign * F.cross_entropy(wide(logits), goal.label, reduction="none")


def margin(goal: Goal, logits: Tensor) -> Tensor:
    """The difference of logits that decides the class (Carlini and Wagner 2016, arXiv 1608.04644, f6)."""
    return goal.margin(logits)


def dlr(goal: Goal, logits: Tensor) -> Tensor:
    """Difference of logits ratio, unchanged by a shift or a scale of the logits (Croce and Hein 2020, arXiv 2003.01690).

    It needs 3 classes, with a target 4: `get_loss` falls back on `margin` below that.
    """
    ranked = wide(logits).sort(dim=1, descending=True).values
    spread = ranked[:, 0] - ranked[:, 2 : goal.ranks].mean(1)
    return goal.gap(logits) / (spread + 1e-12)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}


def get_loss(name: str, goal: Goal, classes: int) -> Loss:
    """The loss of that name, for that goal and number of classes.

    Raises:
        UnknownNameError: no such loss.
    """
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    if name == "dlr" and classes < goal.ranks:
        warnings.warn(
            f"dlr needs {goal.ranks} classes for this goal and the model has {classes}: margin is used instead",
            AdvkitWarning,
            stacklevel=2,
        )
        return margin
    return LOSSES[name]
