"""Ensembles of surrogates: Dong et al. 2017, section 3.3 (arXiv 1710.06081), after Liu et al. 2016 (arXiv 1611.02770).

Images that fool several networks at once are likelier to fool an unknown one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.attacks.around.average import Averaged
from advkit.attacks.around.average import average as mean_of
from advkit.attacks.around.stand_in import StandIn
from advkit.attacks.around.transfer import Transfer
from advkit.attacks.around.wrapper import Wrapper
from advkit.core import model_checks
from advkit.core.attack import Attack
from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.core.joint_passes import View
from advkit.core.losses import Loss, loss_values
from advkit.core.norms import get_norm, per_row
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle

AVERAGES = ("logits", "probabilities", "losses", "gradients")


class _Committee(StandIn):
    """The oracle of the averaged network, with the mean of its members' losses in place of the loss of their mean.

    With `alike` every member's gradient is scaled to l1 length 1 first, so that none outweighs the others.
    """

    def __init__(self, oracle: Oracle, members: Averaged, alike: bool) -> None:
        super().__init__(oracle)
        self._members, self._alike = members, alike

    def loss_and_gradient(
        self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None
    ) -> tuple[Tensor, Tensor]:
        oracle, goal = self._oracle, self._oracle.goal
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            answers = self._members.answers(leaf if through is None else through(leaf))
            each = [loss_values(loss, goal, a, oracle.clean) for a in answers]
            values = torch.stack(each).mean(0)
            parts = each if self._alike else [values]
            slopes = [torch.autograd.grad(part.sum(), leaf, retain_graph=part is not parts[-1])[0] for part in parts]
        slopes = [slope.nan_to_num(0.0) for slope in slopes]
        gradient = torch.stack([_unit(slope) for slope in slopes]).mean(0) if self._alike else slopes[0]
        answer = mean_of([a.detach() for a in answers])
        if through is None:
            oracle.saw(x, answer, values.detach(), gradient)
        else:
            oracle.passed(answer, gradient)
        return values.detach(), gradient


def _unit(slope: Tensor) -> Tensor:
    """The rows scaled to l1 length 1."""
    size = per_row(get_norm("l1").size(slope), slope).clamp(min=1e-30)
    return slope / size.to(slope.dtype)


@dataclass(frozen=True, kw_only=True)
class MeanLoss(Wrapper):
    """The attack inside, on the mean of the losses of several networks; it needs their gradients, not their scores.

    Args:
        members: the networks, all with the same classes.
        alike: whether each network's gradient is scaled to l1 length 1 before the mean is taken.
    """

    starts_at_x = False

    members: Averaged
    alike: bool = False

    def _view(self, oracle: Oracle) -> Oracle:
        return _Committee(oracle, self.members, self.alike)  # type: ignore[return-value]


@outer
def ensemble(attack: Attack, surrogates: Sequence[Model], *, average: str = "logits") -> Attack:
    """Make the attack on several networks together and show its results to the model, see `Transfer`.

    Args:
        attack: any attack; `average="losses"` and "gradients" need one that climbs a loss.
        surrogates: one or more networks with the same classes as the model.
        average: "logits": the networks are one, with the mean of their logits (the paper's choice); "probabilities":
            with the mean of their probabilities (Liu et al.); "losses": what is climbed is the mean of their losses;
            "gradients": the mean of their gradients, each of l1 length 1.

    Raises:
        InputError: the object is no attack, there are no surrogates, or the average is unknown.
    """
    if not isinstance(surrogates, Sequence) or not surrogates:
        raise InputError(f"expected surrogates as a list of at least one model, got {surrogates!r}")
    if average not in AVERAGES:
        raise unknown("average", str(average), AVERAGES)
    for surrogate in surrogates:
        model_checks.check_model(surrogate)
    members, inside = Averaged(surrogates, probabilities=average == "probabilities"), attack
    if average in ("losses", "gradients"):
        inside = MeanLoss(attack=attack, members=members, alike=average == "gradients")
    return Transfer(attack=inside, surrogate=members)
