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
from advkit.core.norms import get_norm, per_row
from advkit.core.oracle import Oracle


class Memory(NamedTuple):
    """Adam's moments, how many steps they have seen, and the unit of their gradients."""

    adam: Adam
    k: Tensor  # (M,) int64
    unit: Tensor  # (M,) float64: the length of the first estimate, so that Adam's constant does not count


@register_attack("spsa")
@dataclass(frozen=True, kw_only=True)
class SPSA(EstimateAttack):
    """Adam along `g = sum_i f(x + sigma v_i) v_i / (n sigma)`, v random signs, in pairs v and -v.

    The paper's ball is that of linf, where every entry has a scale of its own. In l2 one scale serves all entries of an
    image: with a scale for each the steps would lead to a corner of the cube, not along the gradient.

    Cost per sample: at most `steps` * (`samples` + 1) + 2 queries, no gradient.

    Args:
        norm: the norm of the ball.
        loss: the loss that is increased; "margin" is the paper's.
        steps: number of steps.
        samples: number n of queries in an estimate of the gradient.
        sigma: distance of every entry of the probing points from the iterate, with pixels in units of their range.
        lr: length of an entry's first step in units of the pixels; default: the length at which the whole step is
            2.5 * eps / steps in the norm.
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
        k = torch.zeros_like(oracle.rows.row)
        return Memory(at_rest(wide(oracle.x)), k, k.double())

    def move(self, oracle: Oracle, state: State, g: Tensor) -> tuple[Tensor, Memory]:
        """Take a step of Adam, and return into the region."""
        memory, region = state.memory, oracle.region
        unit = torch.where(memory.k == 0, get_norm("l2").size(g), memory.unit)
        g = g / per_row(unit.clamp(min=1e-300), g).to(g.dtype)
        memory = Memory(memory.adam.updated(-g, shared=not region.norm.boxed), memory.k + 1, unit)
        whole = 2.5 * region.eps.flatten() / self.steps / region.norm.size(torch.ones_like(g))
        lr = whole if self.lr is None else torch.full_like(whole, self.lr)
        return region.project((state.centre - memory.adam.move(memory.k, lr)).to(oracle.x.dtype)).to(
            oracle.x.dtype
        ), memory
