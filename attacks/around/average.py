"""Averages of several answers to one image: of several networks, or of one random network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.core.goals import wide
from advkit.core.guard import Model
from advkit.core.model_checks import ask


class Averaged(nn.Module):
    """Images -> the mean of the logits of its members, or the logs of their mean probabilities.

    Args:
        members: models from images (N, ...) to logits (N, K); a model listed twice is called twice.
        probabilities: whether the members' probabilities are averaged, not their logits.

    Raises:
        InputError: (when called) the members do not agree in the number of classes.
    """

    def __init__(self, members: Sequence[Model], *, probabilities: bool = False) -> None:
        super().__init__()
        self.members, self.probabilities = list(members), probabilities
        self.known = nn.ModuleList({id(m): m for m in members if isinstance(m, nn.Module)}.values())

    def forward(self, x: Tensor) -> Tensor:
        """x (N, ...) -> (N, K), in the members' type."""
        answers = self.answers(x)
        return mixture(answers) if self.probabilities else average(answers)

    def answers(self, x: Tensor) -> list[Tensor]:
        """Return the logits (N, K) of each member; each gets images of its own, for some models write on them."""
        found = [ask(member, x.clone()) for member in self.members]
        shapes = {tuple(logits.shape) for logits in found}
        if len(shapes) > 1:
            raise InputError(f"expected networks of the same classes, got logits of shapes {sorted(shapes)}")
        return found


def average(answers: Sequence[Tensor]) -> Tensor:
    """Return the mean of several logits (N, K), summed in float32 or better."""
    total = torch.stack([wide(logits) for logits in answers]).mean(0)
    return total.to(answers[0].dtype)


def mixture(answers: Sequence[Tensor]) -> Tensor:
    """Return the logs of the mean of the probabilities of several logits (N, K), in float32 or better."""
    each = torch.stack([wide(logits).log_softmax(1) for logits in answers])
    return (each.logsumexp(0) - math.log(len(answers))).to(answers[0].dtype)
