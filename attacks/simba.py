"""SimBA: Guo, Gardner, You, Wilson, Weinberger 2019, algorithm 1 (arXiv 1905.07121)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.waves import rings, waves
from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.best_points import choose
from advkit.core.door import check_count, check_positive
from advkit.core.errors import InputError, unknown
from advkit.core.losses import loss_values
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle

BASES = ("pixel", "dct")


class State(NamedTuple):
    """The proposal, the point from which it departs, and which direction it tries."""

    x_adv: Tensor  # (M, ...)
    x_max: Tensor  # (M, ...)
    f_max: Tensor  # (M,): its loss
    order: Tensor  # (M, D) int64: the directions in the order of their turns
    turn: Tensor  # (M,) int64
    back: Tensor  # (M,) bool: True where the direction is tried with a minus


@register_attack("simba")
@dataclass(frozen=True, kw_only=True)
class SimBA(BudgetAttack):
    """`x <- x + a q` or `x - a q`, whichever raises the loss first; q is the next vector of an orthonormal basis.

    The order of the vectors is random, or that of waves begins with low frequencies, as in ART's SimBA. After the
    last it begins again with half of a, where the paper ends.

    Cost per sample: at most `queries` + 1 queries, no gradient.

    Args:
        norm: the norm of the ball.
        queries: number of queries, including those of the clean image and of the verdict.
        step_size: length a of a step, with pixels in units of their range.
        basis: "pixel" tries single entries; "dct" tries cosine waves, each in one channel.
        frequencies: share of the waves' frequencies along each side that are tried first, the lowest ones; the higher
            ones follow, each frequency after the last. The value 1 tries all waves in random order.
    """

    norms = ("l2", "linf")
    paper = "Guo et al. 2019, arXiv 1905.07121"
    knowledge = "scores"
    deterministic = False
    starts_at_x = False

    norm: str = "l2"
    queries: int = 5000
    step_size: float = 0.2
    basis: str = "pixel"
    frequencies: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("queries", self.queries, least=3)
        check_positive("step_size", self.step_size)
        check_positive("frequencies", self.frequencies)
        if self.frequencies > 1:
            raise InputError(f"expected frequencies as a share > 0 and <= 1, got {self.frequencies!r}")
        if self.basis not in BASES:
            raise unknown("basis of simba", self.basis, BASES)

    @property
    def total_steps(self) -> int:
        """A query each; the clean image and the verdict take two."""
        return self.queries - 2

    def init(self, oracle: Oracle) -> State:
        """Return the first direction of a random order, forwards."""
        turns = oracle.draws.uniform(0, (oracle.x[0].numel(),))
        if self.basis == "dct":
            turns = turns + rings(tuple(oracle.x.shape[1:]), self.frequencies).to(turns.device)
        order = turns.argsort(1)  # (M, D)
        turn = torch.zeros(len(oracle.x), dtype=torch.int64, device=oracle.x.device)
        f = loss_values(self.loss, oracle.goal, oracle.clean, oracle.clean).double()
        return self._proposed(oracle, State(oracle.x, oracle.x, f, order, turn, turn > 0))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Keep the proposal where it is better; elsewhere turn it round once, then take the next direction."""
        f = loss_values(self.loss, oracle.goal, oracle.logits(state.x_adv), oracle.clean).double()
        better = (f > state.f_max) & ~held(state.x_adv, state.x_max)  # not by the rounding of one point
        state = state._replace(
            x_max=choose(better, state.x_adv, state.x_max),
            f_max=torch.where(better, f, state.f_max),
            turn=state.turn + (better | state.back),
            back=~better & ~state.back,
        )
        return self._proposed(oracle, state)

    def _proposed(self, oracle: Oracle, state: State) -> State:
        """A step from the best point along the direction whose turn it is, within the region.

        A way that the region holds back altogether, as at a pixel of 1, is passed over; it would cost a query.
        """
        last = self._tried(oracle, state)
        over = state.back & held(last, state.x_max)
        state = state._replace(turn=state.turn + over, back=state.back & ~over)
        ahead, behind = self._tried(oracle, state), self._tried(oracle, state._replace(back=~state.back))
        turned = ~state.back & held(ahead, state.x_max)
        return state._replace(x_adv=choose(turned, behind, ahead), back=state.back | turned)

    def _tried(self, oracle: Oracle, state: State) -> Tensor:
        """(M, ...): a step along the direction of this turn, forwards or back."""
        x, count = state.x_max, state.order.shape[1]
        index = state.order.gather(1, (state.turn % count)[:, None]).squeeze(1)
        q = DIRECTIONS[self.basis](index, tuple(x.shape[1:]))
        a = self.step_size * oracle.region.span / 2 ** (state.turn // count).double()
        step = per_row(torch.where(state.back, -a, a), q) * q
        return oracle.region.project((x + step).to(x.dtype)).to(x.dtype)


def held(x_adv: Tensor, x: Tensor) -> Tensor:
    """(M,) bool: the step led nowhere."""
    return (x_adv == x).flatten(1).all(1)


def pixels(index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(M, ...) float64: 1 at the entry with this number (M,)."""
    zero = torch.zeros(len(index), math.prod(shape), dtype=torch.float64, device=index.device)
    return zero.scatter(1, index[:, None], 1.0).view(-1, *shape)


DIRECTIONS = {"pixel": pixels, "dct": waves}
