"""The common part of attacks that estimate the gradient from scores at pairs of opposite points."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import BudgetAttack
from advkit.core.door import check_count, check_positive
from advkit.core.errors import InputError
from advkit.core.goals import wide
from advkit.core.losses import loss_values
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """The query, the iterate around which it lies, and what the queries around it have said so far."""

    x_adv: Tensor  # (M, ...)
    centre: Tensor  # (M, ...)
    u: Tensor  # (M, ...): the direction from there to the query; the next query lies opposite
    f: Tensor  # (M,): the sum of f(z) - f(centre) over the points z
    offset: Tensor  # (M, ...): the sum of z - centre
    total: Tensor  # (M, ...): the sum of (f(z) - f(centre)) (z - centre)
    level: Tensor  # (M,): f(centre), which keeps the sums small
    memory: Any  # what the attack keeps from step to step


@dataclass(frozen=True, kw_only=True)
class EstimateAttack(BudgetAttack):
    """A budget attack that asks at `samples` points around the iterate, moves it, and asks there.

    Args:
        steps: number of steps of the iterate.
        samples: number of queries in an estimate of the gradient, an even number.
        sigma: distance of these queries from the iterate, as a factor of the random direction.
    """

    knowledge = "scores"
    deterministic = False
    starts_at_x = False

    steps: int = 20
    samples: int = 50
    sigma: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_count("samples", self.samples, least=2)
        check_positive("sigma", self.sigma)
        if self.samples % 2:
            raise InputError(f"expected samples as an even number, for they come in pairs, got {self.samples}")

    @property
    def total_steps(self) -> int:
        """A query each; the last iterate is asked about by the verdict."""
        return self.steps * (self.samples + 1) - 1

    @abstractmethod
    def direction(self, oracle: Oracle, number: int) -> Tensor:
        """(M, ...): a random direction, the same for the same number."""

    @abstractmethod
    def first_memory(self, oracle: Oracle) -> Any:
        """Return the memory at the start."""

    @abstractmethod
    def move(self, oracle: Oracle, state: State, g: Tensor) -> tuple[Tensor, Any]:
        """Return the next iterate (M, ...), within the region, and the next memory, from the estimate g (M, ...)."""

    def init(self, oracle: Oracle) -> State:
        """Around the clean image, whose loss is known."""
        f = loss_values(self.loss, oracle.goal, oracle.clean, oracle.clean).double()
        x = oracle.x
        none = torch.zeros_like(wide(x))
        return self._pair(oracle, State(x, x, none, torch.zeros_like(f), none, none, f, self.first_memory(oracle)), 0)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Ask one query; after `samples` queries the iterate moves, and the next query is the iterate."""
        f = loss_values(self.loss, oracle.goal, oracle.logits(state.x_adv), oracle.clean).double()
        if i % (self.samples + 1) == self.samples:
            none = torch.zeros_like(state.total)
            state = state._replace(f=torch.zeros_like(f), offset=none, total=none, level=f)
            return self._pair(oracle, state, i + 1)
        offset, rise = wide(state.x_adv) - wide(state.centre), f - state.level
        total = state.total + per_row(rise, offset).to(offset.dtype) * offset
        state = state._replace(f=state.f + rise, offset=state.offset + offset, total=total)
        j = (i + 1) % (self.samples + 1)
        if j < self.samples:
            return self._opposite(oracle, state) if j % 2 else self._pair(oracle, state, i + 1)
        mean = per_row(state.f / self.samples, state.offset).to(state.offset.dtype)
        sigma = self.sigma * oracle.region.span
        centre, memory = self.move(oracle, state, (state.total - mean * state.offset) / (self.samples * sigma**2))
        return state._replace(x_adv=centre, centre=centre, memory=memory)

    def _pair(self, oracle: Oracle, state: State, i: int) -> State:
        """Query i is the first point of a pair: a random direction away from the centre."""
        step, j = divmod(i, self.samples + 1)
        u = self.sigma * oracle.region.span * self.direction(oracle, step * self.samples + j // 2)
        return self._at(oracle, state._replace(u=u))

    def _opposite(self, oracle: Oracle, state: State) -> State:
        """The second point of a pair."""
        return self._at(oracle, state._replace(u=-state.u))

    def _at(self, oracle: Oracle, state: State) -> State:
        return state._replace(x_adv=oracle.region.clamp((state.centre + state.u).to(state.centre.dtype)))
