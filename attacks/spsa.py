"""SPSA: Uesato, O'Donoghue, van den Oord, Kohli 2018, algorithm 1 (arXiv 1802.05666)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.adam import Adam, at_rest
from advkit.attacks.parts.decision import directions
from advkit.attacks.parts.estimate import EstimateAttack, State
from advkit.core.attack import register_attack
from advkit.core.door import check_positive
from advkit.core.goals import wide
from advkit.core.oracle import Oracle


class Memory(NamedTuple):
    """Adam's moments, and how many steps they have seen."""

    adam: Adam
    k: Tensor  # (M,) int64


@register_attack("spsa")
@dataclass(frozen=True, kw_only=True)
class SPSA(EstimateAttack):
    """Adam along `g = sum_i f(x + sigma v_i) v_i / (n sigma)`, v random signs, in pairs v and -v.

    Cost per sample: at most `steps` * (`samples` + 1) + 2 queries, no gradient.

    Args:
        norm: the norm of the ball.
        loss: the loss that is increased; "margin" is the paper's.
        steps: number of steps.
        samples: number n of queries in an estimate of the gradient.
        sigma: distance of every entry of the probing points from the iterate, in units of the pixels.
        lr: length of an entry's first step in units of the pixels; default: 2.5 * eps / steps.
    """

    norms = ("linf", "l2")
    paper = "Uesato et al. 2018, arXiv 1802.05666"

    loss: str = "margin"
    lr: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("lr", self.lr, optional=True)

    def direction(self, oracle: Oracle, number: int) -> Tensor:
        """Random signs."""
        return directions(oracle, number)

    def first_memory(self, oracle: Oracle) -> Memory:
        """Adam at rest."""
        return Memory(at_rest(wide(oracle.x)), torch.zeros_like(oracle.rows.row))

    def move(self, oracle: Oracle, state: State, g: Tensor) -> tuple[Tensor, Memory]:
        """A step of Adam, and back into the region."""
        memory = Memory(state.memory.adam.updated(-g), state.memory.k + 1)
        eps = oracle.region.eps.flatten()
        lr = 2.5 * eps / self.steps if self.lr is None else torch.full_like(eps, self.lr)
        step = memory.adam.move(memory.k, lr.expand_as(state.f))
        return oracle.region.project((state.centre - step).to(oracle.x.dtype)).to(oracle.x.dtype), memory
