"""Averages of several answers to one image: of several networks, or of one random network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.core.goals import wide
from advkit.core.guard import Model


class Averaged(nn.Module):
    """Images -> the mean of the logits of its members.

    Args:
        members: models from images (N, ...) to logits (N, K); a model listed twice is called twice.

    Raises:
        InputError: (when called) the members do not agree in the number of classes.
    """

    def __init__(self, members: Sequence[Model]) -> None:
        super().__init__()
        self.members = list(members)
        self.known = nn.ModuleList({id(m): m for m in members if isinstance(m, nn.Module)}.values())

    def forward(self, x: Tensor) -> Tensor:
        """x (N, ...) -> (N, K), in the members' type."""
        return average(self.answers(x))

    def answers(self, x: Tensor) -> list[Tensor]:
        """The logits (N, K) of each member; each gets images of its own, for some models write on them."""
        found = [member(x.clone()) for member in self.members]
        shapes = {tuple(logits.shape) for logits in found}
        if len(shapes) > 1:
            raise InputError(f"expected networks of the same classes, got logits of shapes {sorted(shapes)}")
        return found


def average(answers: Sequence[Tensor]) -> Tensor:
    """The mean of several logits (N, K), summed in float32 or better."""
    total = torch.stack([wide(logits) for logits in answers]).mean(0)
    return total.to(answers[0].dtype)
