"""HopSkipJump: Chen, Jordan, Wainwright 2019, algorithm 2 (arXiv 1904.02144)."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks import _decision
from advkit.attacks._decision import APPROACH, START, Segment
from advkit.core.attack import MinimalAttack, check_count, check_positive, register_attack
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle, choose

ESTIMATE, JUMP = 2, 3
"""Phases of a row, after those of `_decision`: asking around a point of the boundary; leaping along the answer."""


class Estimate(NamedTuple):
    """The answers around a point of the boundary, S in the paper."""

    asked: Tensor  # (M,) int64: how many
    yes: Tensor  # (M,) int64: those that fooled
    total: Tensor  # (M, ...): the sum of the directions
    toward: Tensor  # (M, ...): the sum of those that fooled


class State(NamedTuple):
    """Every row is in a phase of its own; each step is one query of each."""

    x_adv: Tensor  # (M, ...): the query
    size: Tensor  # (M,) float64: its distance, in the phase APPROACH
    offset: Tensor  # (M, ...): its direction from the boundary, in the phase ESTIMATE
    phase: Tensor  # (M,) int64
    segment: Segment
    t: Tensor  # (M,) int64: the round, from 1
    estimate: Estimate
    normal: Tensor  # (M, ...): the direction of the leap
    length: Tensor  # (M,) float64: of the leap, xi
    done: Tensor  # (M,) bool: nothing adversarial was found to start from


@register_attack("hopskipjump")
@dataclass(frozen=True, kw_only=True)
class HopSkipJump(MinimalAttack):
    """From the boundary along its normal, as estimated from labels alone, and back to the boundary nearer to x.

    A round: `first * sqrt(t)` queries at `delta` around the boundary, `v = mean((phi - mean(phi)) u)`; a leap of
    `distance / sqrt(t)` along v, halved until it lands on an adversarial point; then the segment from there to x is
    halved down to `tolerance`. Directions u are random signs; unlike the paper's, delta is `probe * distance / sqrt(D)`
    for images of D entries, and the tolerance is of the same order.

    The first adversarial point is the first of `tries` images of noise that is one; towards a target noise seldom is:
    give `starts`, images of that class. Every row spends its own queries, and the nearest point of all is returned.

    Cost per sample: `queries` + 2 queries, no gradient.

    Args:
        queries: how many, the check of the clean image and the verdict aside.
        first: of the queries of the first round's estimate.
        tries: how many points are tried for a first adversarial one.
        probe: delta in units of distance / sqrt(D).
        tolerance: of the halving, in the same units.
        starts: images (K, C, H, W) to be tried first.
    """

    norms = ("l2", "linf")
    paper = "Chen et al. 2019, arXiv 1904.02144"
    knowledge = "labels"
    starts_at_x = False
    deterministic = False

    norm: str = "l2"
    queries: int = 5000
    first: int = 25
    tries: int = 100
    probe: float = 0.3
    tolerance: float = 0.1
    starts: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("queries", "first", "tries"):
            check_count(name, getattr(self, name))
        check_positive("probe", self.probe)
        check_positive("tolerance", self.tolerance)
        _decision.check_starts(self.starts)

    @property
    def total_steps(self) -> int:
        """One a query."""
        return self.queries

    def init(self, oracle: Oracle) -> State:
        """The first point to be tried."""
        zero = torch.zeros(len(oracle.x), dtype=torch.int64, device=oracle.x.device)
        none = torch.zeros_like(_decision.directions(oracle, 0))
        estimate = Estimate(zero, zero, none, none)
        first, segment = _decision.candidate(oracle, 0, self.starts), _decision.no_segment(oracle)
        return State(
            first, zero.double(), none, zero + START, segment, zero + 1, estimate, none, zero.double(), zero < 0
        )

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """One query of every row, what its answer means in the row's phase, and the next query."""
        oracle.logits(state.x_adv)
        fooled, phase = oracle.fooled, state.phase
        landed = ((phase == START) | (phase == JUMP)) & fooled
        segment, arrived = self._halve(oracle, state, landed, fooled)
        estimate, ready = self._count(state, fooled)
        missed = (phase == JUMP) & ~fooled
        length = torch.where(ready, segment.high / state.t.double().sqrt(), state.length / (1 + missed.double()))
        lost = missed & (length < self._share(oracle, self.tolerance) * segment.high)
        over = arrived | lost
        next_phase = torch.where(ready, JUMP, torch.where(over, ESTIMATE, phase))
        state = state._replace(
            phase=torch.where(landed, APPROACH, next_phase),
            segment=segment,
            t=state.t + (landed & (phase == JUMP)) + lost,
            estimate=choose(over, Estimate(*(torch.zeros_like(part) for part in estimate)), estimate),
            normal=torch.where(per_row(ready, state.normal), _normal(estimate), state.normal),
            length=length,
            done=(phase == START) & ~fooled & (i + 1 >= self.tries),
        )
        return self._ask(oracle, state, i + 1)

    def _share(self, oracle: Oracle, units: float) -> float:
        """So many units of distance / sqrt(D), as a share of the distance."""
        return min(0.5, units / math.sqrt(oracle.x[0].numel()))

    def _halve(self, oracle: Oracle, state: State, landed: Tensor, fooled: Tensor) -> tuple[Segment, Tensor]:
        """The segment after this query; and which rows have arrived at the boundary."""
        approach = state.phase == APPROACH
        size = torch.where(landed, oracle.region.distance(state.x_adv), state.size)
        segment = _decision.begin(state.segment, landed, torch.where(state.phase == JUMP, 0.1, 0.25))
        segment = _decision.seen(segment, state.x_adv, size, fooled, landed | approach)
        return segment, approach & _decision.narrow(segment, self._share(oracle, self.tolerance))

    def _count(self, state: State, fooled: Tensor) -> tuple[Estimate, Tensor]:
        """The estimate after this query; and which rows have asked enough."""
        now, asking = state.estimate, state.phase == ESTIMATE
        estimate = Estimate(
            asked=now.asked + asking,
            yes=now.yes + (asking & fooled),
            total=now.total + torch.where(per_row(asking, now.total), state.offset, 0),
            toward=now.toward + torch.where(per_row(asking & fooled, now.total), state.offset, 0),
        )
        return estimate, asking & (estimate.asked >= self.first * state.t.double().sqrt())

    def _ask(self, oracle: Oracle, state: State, i: int) -> State:
        """The next query of each row."""
        region, phase, hit = oracle.region, state.phase, state.segment.hit
        between, size = _decision.middle(oracle, state.segment)
        signs = _decision.directions(oracle, i)
        high = torch.where(phase == START, 0.0, state.segment.high)
        delta = self._share(oracle, self.probe) * high / region.norm.size(signs)
        around = region.clamp((hit + per_row(delta, hit) * signs).to(hit.dtype))
        offset = ((around - hit).double() / per_row(delta, hit).clamp(min=1e-300)).to(
            signs.dtype
        )  # what the range has left of it
        leap = region.clamp((hit + per_row(state.length, hit) * region.norm.steepest(state.normal)).to(hit.dtype))
        x_adv = torch.where(per_row(phase == APPROACH, hit), between, leap)
        x_adv = torch.where(per_row(phase == ESTIMATE, hit), around, x_adv)
        if i < self.tries:
            x_adv = torch.where(per_row(phase == START, hit), _decision.candidate(oracle, i, self.starts), x_adv)
        return state._replace(x_adv=x_adv, size=size, offset=offset)


def _normal(estimate: Estimate) -> Tensor:
    """sum (phi - mean phi) u; where all answers are the same: along the mean of u or against it."""
    asked, yes, total, toward = estimate
    share = yes / asked.clamp(min=1)
    alike = (share == 0) | (share == 1)
    factor = torch.where(alike, 0.5 - share, share)  # all yes: toward is total
    return toward - per_row(factor, total).to(total.dtype) * total
