"""Ensembles of surrogates: Dong et al. 2017, section 3.3 (arXiv 1710.06081), after Liu et al. 2016 (arXiv 1611.02770).

What fools several networks at once is likelier to fool one that is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.attacks.around.average import Averaged
from advkit.attacks.around.average import average as mean_of
from advkit.attacks.around.transfer import Transfer
from advkit.attacks.around.wrapper import Wrapper
from advkit.core import door
from advkit.core.attack import Attack
from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.core.losses import loss_values
from advkit.core.oracle import Oracle, View

AVERAGES = ("logits", "losses")


class _Committee:
    """The oracle of the averaged network, with the mean of its members' losses in place of the loss of their mean."""

    def __init__(self, oracle: Oracle, members: Averaged) -> None:
        self._oracle, self._members = oracle, members

    def __getattr__(self, name: str) -> Any:
        return getattr(self._oracle, name)

    def loss_and_gradient(
        self, x: Tensor, loss: str = "cross_entropy", through: View | None = None
    ) -> tuple[Tensor, Tensor]:
        oracle, goal = self._oracle, self._oracle.goal
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            answers = self._members.answers(leaf if through is None else through(leaf))
            values = torch.stack([loss_values(loss, goal, a, oracle.clean) for a in answers]).mean(0)
            (gradient,) = torch.autograd.grad(values.sum(), leaf)
        gradient = gradient.nan_to_num(0.0)
        answer = mean_of([a.detach() for a in answers])
        if through is None:
            oracle.saw(x, answer, values.detach(), gradient)
        else:
            oracle.passed(answer, gradient)
        return values.detach(), gradient


@dataclass(frozen=True, kw_only=True)
class MeanLoss(Wrapper):
    """The attack inside, on the mean of the losses of several networks; it needs their gradients, not their scores.

    Args:
        members: the networks, all with the same classes.
    """

    starts_at_x = False

    members: Averaged

    def _view(self, oracle: Oracle) -> Oracle:
        return _Committee(oracle, self.members)  # type: ignore[return-value]


def ensemble(attack: Attack, surrogates: Sequence[Model], *, average: str = "logits") -> Attack:
    """The attack made on several networks together and shown to the model, see `Transfer`.

    Args:
        attack: any attack; `average="losses"` needs one that climbs a loss.
        surrogates: one or more networks with the same classes as the model.
        average: "logits": the networks are one, with the mean of their logits (the paper's choice); "losses": what is
            climbed is the mean of their losses.

    Raises:
        InputError: not an attack, no surrogates, or another average.
    """
    if not isinstance(surrogates, Sequence) or not surrogates:
        raise InputError(f"expected surrogates as a list of at least one model, got {surrogates!r}")
    if average not in AVERAGES:
        raise unknown("average", str(average), AVERAGES)
    for surrogate in surrogates:
        door.check_model(surrogate)
    members = Averaged(surrogates)
    inside = MeanLoss(attack=attack, members=members) if average == "losses" else attack
    return Transfer(attack=inside, surrogate=members)
