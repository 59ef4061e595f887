"""What an attack climbs: (goal, logits) -> (N,), larger = more adversarial, one number a sample, never averaged.

Computed in float32 or better, whatever the model's type.
"""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.core.errors import AdvkitWarning, unknown
from advkit.core.goals import Goal, wide

Loss = Callable[[Goal, Tensor], Tensor]


def surprise(logits: Tensor, label: Tensor) -> Tensor:
    """J = -log softmax(logits)[label], (N, K) and (N,) -> (N,), exact however confident the model is.

    Where the label's probability rounds to 1, the usual formula gives J = 0 and a gradient from which the label's logit
    has vanished: it points elsewhere. Here J = log(1 + exp(log sum exp(others) - own)) keeps both.
    """
    logits = wide(logits)
    own = logits.gather(1, label[:, None])
    others = logits.scatter(1, label[:, None], -torch.inf)
    return F.softplus((others - own).logsumexp(1), threshold=50)


def cross_entropy(goal: Goal, logits: Tensor) -> Tensor:
    """J of the label to leave, or minus J of the target (Goodfellow et al. 2014, arXiv 1412.6572)."""
    return goal.sign * surprise(logits, goal.label)


def margin(goal: Goal, logits: Tensor) -> Tensor:
    """The difference of logits that decides the class (Carlini and Wagner 2016, arXiv 1608.04644, f6)."""
    return goal.margin(logits)


def dlr(goal: Goal, logits: Tensor) -> Tensor:
    """Difference of logits ratio, blind to a shift or a scale of the logits (Croce and Hein 2020, arXiv 2003.01690).

    It needs 3 classes, with a target 4: `get_loss` falls back on `margin` below that.
    """
    ranked = wide(logits).sort(dim=1, descending=True).values
    spread = ranked[:, 0] - ranked[:, 2 : goal.ranks].mean(1)
    return goal.gap(logits) / (spread + 1e-12)


def rival(goal: Goal, logits: Tensor) -> Tensor:
    """Minus J of the class to reach: the target, or without one the likeliest class other than y; it is at most 0."""
    return -surprise(logits, goal.rival(logits))


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr, "rival": rival}


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
