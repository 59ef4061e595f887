"""The Square attack: Andriushchenko, Croce, Flammarion, Hein 2019, algorithms 1 to 3 (arXiv 1912.00049)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.square.proposals import PROPOSALS, sides
from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.best_points import choose
from advkit.core.door import check_count, check_share
from advkit.core.losses import loss_values
from advkit.core.oracle import Oracle

HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries after which the squares' area is halved."""


class State(NamedTuple):
    """The proposal, and the best point so far."""

    x_adv: Tensor  # (M, ...)
    x_max: Tensor  # (M, ...)
    f_max: Tensor  # (M,): its loss, -inf before the first look


@register_attack("square")
@dataclass(frozen=True, kw_only=True)
class Square(BudgetAttack):
    """Random search by scores alone: a change of one square at a time is kept where the loss rises.

    linf: the square goes to +eps or -eps, each channel as a whole, to the other side where that would change nothing.
    l2: the square takes over the perturbation of another one, as two pyramids of opposite sign. It begins with stripes,
    or with a grid of pyramids.

    Cost per sample: at most `queries` + 1 queries, no gradient.

    Args:
        loss: the loss that is increased; "margin" is the paper's.
        queries: number of queries, including those of the clean image and of the verdict.
        area: the share of the image that the first squares cover.
        rescale: True halves the area after the paper's numbers of queries times `queries` / 10,000, as in the paper;
            False after the paper's numbers themselves, as AutoAttack does.
    """

    norms = ("linf", "l2")
    stays_inside = True
    paper = "Andriushchenko et al. 2019, arXiv 1912.00049"
    knowledge = "scores"
    deterministic = False
    starts_at_x = False

    loss: str = "margin"
    queries: int = 5000
    area: float = 0.8
    rescale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("queries", self.queries, least=3)
        check_share("area", self.area)

    @property
    def total_steps(self) -> int:
        """A query each; the clean image and the verdict take two."""
        return self.queries - 2

    def init(self, oracle: Oracle) -> State:
        """Stripes or pyramids, not yet seen."""
        worst = oracle.x.new_full((len(oracle.x),), -torch.inf, dtype=torch.float64)
        return State(PROPOSALS[self.norm].first(oracle.region, oracle.draws), oracle.x, worst)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Keep the proposal where it is better; propose another square."""
        logits = oracle.logits(state.x_adv)
        f = loss_values(self.loss, oracle.goal, logits, oracle.clean).double()
        better = f > state.f_max
        x_max, f_max = choose(better, state.x_adv, state.x_max), torch.where(better, f, state.f_max)
        place = i * 10_000 / self.queries if self.rescale else i
        share = self.area / 2 ** sum(place > mark for mark in HALVED)
        square = sides(oracle.x, share)
        return State(PROPOSALS[self.norm].next(oracle.region, x_max, square, oracle.draws, i + 1), x_max, f_max)
