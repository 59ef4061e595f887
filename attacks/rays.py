"""RayS: Chen and Gu 2020, algorithms 1 to 3 (arXiv 2006.12792)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import MinimalAttack, register_attack
from advkit.core.door import check_count, check_positive
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """Every row flips a block of its own, or searches along the flipped ray; each step is one query of each."""

    x_adv: Tensor  # (M, ...): the query
    v: Tensor  # (M, D) bool: the signs of the best ray, True is upwards
    r: Tensor  # (M,) float64: its radius; that of the whole range where none has fooled yet
    size: Tensor  # (M,) int64: entries in a block, D first
    block: Tensor  # (M,) int64: number of the block that is flipped, -1 in the first query
    low: Tensor  # (M,) float64: the largest radius of the flipped ray that is known not to fool
    high: Tensor  # (M,) float64: the smallest that fools, inf before the check has said so
    gained: Tensor  # (M,) bool: a ray was replaced since the blocks were whole last
    done: Tensor  # (M,) bool: no flip of any block is better


@register_attack("rays")
@dataclass(frozen=True, kw_only=True)
class RayS(MinimalAttack):
    """The ray x + r v, v of +1 and -1, with the least r that fools: signs are flipped in ever smaller blocks.

    A flip is tried just within the best radius. If it fools there, the radius is halved down to `tolerance`, and the
    flip stays. After the blocks of one entry it begins again with the whole, and ends when nothing has changed.

    Cost per sample: at most `queries` + 3 queries, no gradient.

    Args:
        queries: number of queries, without the check of the clean image and the verdict.
        tolerance: relative precision of the radius; a flip of signs is kept only if it makes the radius smaller by
            more than this fraction.
    """

    norms = ("linf",)
    paper = "Chen and Gu 2020, arXiv 2006.12792"
    knowledge = "labels"
    climbs = False
    targetable = False
    starts_at_x = False

    queries: int = 5000
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("queries", self.queries)
        check_positive("tolerance", self.tolerance)

    @property
    def total_steps(self) -> int:
        """One a query."""
        return self.queries

    def init(self, oracle: Oracle) -> State:
        """Straight up, as far as the range goes."""
        x = oracle.x
        size = torch.full((len(x),), x[0].numel(), dtype=torch.int64, device=x.device)
        r, no = oracle.region.widest() / (1 - self.tolerance), torch.zeros_like(size, dtype=torch.bool)
        v = torch.ones(len(x), x[0].numel(), dtype=torch.bool, device=x.device)
        state = State(x, v, r, size, torch.full_like(size, -1), 0 * r, r + torch.inf, no, no)
        return self._query(oracle, state)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Ask one query, and use its answer: a flip is better or not, or a radius fools or not."""
        oracle.logits(state.x_adv)
        radius, checked = self._length(state), state.high.isinf()
        high = torch.where(oracle.fooled, radius, state.high)
        low = torch.where(oracle.fooled | checked, state.low, radius)
        found = high.isfinite() & (high - low <= self.tolerance * high)
        over = found | (checked & ~oracle.fooled)
        state = state._replace(
            v=torch.where(found[:, None], self._flipped(state), state.v),
            r=torch.where(found, high, state.r),
            gained=state.gained | found,
            low=torch.where(over, 0.0, low),
            high=torch.where(over, torch.inf, high),
        )
        return self._query(oracle, self._next(state, over))

    def _next(self, state: State, over: Tensor) -> State:
        """On the rows `over` the next block, of half the size after the last one, of all entries after the smallest."""
        entries = state.v.shape[1]
        block = state.block + over
        last = over & (block > 0) & (block * state.size >= entries)
        whole = last & (state.size == 1)
        size = torch.where(whole, entries, torch.where(last, (state.size + 1) // 2, state.size))
        done = state.done | (whole & ~state.gained)
        return state._replace(size=size, block=torch.where(last, 0, block), gained=state.gained & ~whole, done=done)

    def _flipped(self, state: State) -> Tensor:
        """(M, D) bool: the best ray with the signs of the block turned round."""
        place = torch.arange(state.v.shape[1], device=state.v.device)
        return state.v ^ (place // state.size[:, None] == state.block[:, None])

    def _length(self, state: State) -> Tensor:
        """(M,) float64: of the query, the middle of what is known; the check lies just within the best radius."""
        return torch.where(state.high.isinf(), state.r * (1 - self.tolerance), (state.low + state.high) / 2)

    def _query(self, oracle: Oracle, state: State) -> State:
        radius = per_row(self._length(state), oracle.x)
        step = torch.where(self._flipped(state).view(oracle.x.shape), radius, -radius)
        return state._replace(x_adv=oracle.region.clamp((oracle.x + step).to(oracle.x.dtype)))
