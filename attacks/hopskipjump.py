"""HopSkipJump: Chen, Jordan, Wainwright 2019, algorithm 2 (arXiv 1904.02144)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts import decision, normal
from advkit.attacks.parts.decision import APPROACH, START, DecisionAttack, Segment
from advkit.core.attack import register_attack
from advkit.core.door import check_count, check_positive
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle

ESTIMATE, JUMP = 2, 3
"""Phases of a row, after those of `parts.decision`: asking around a point of the boundary; leaping along the answer."""


class State(NamedTuple):
    """Each row is in its own phase; each step makes one query for each row."""

    x_adv: Tensor  # (M, ...): the query
    size: Tensor  # (M,) float64: its distance, in the phase APPROACH
    offset: Tensor  # (M, ...): its direction from the boundary, in the phase ESTIMATE
    phase: Tensor  # (M,) int64
    segment: Segment
    t: Tensor  # (M,) int64: the round, from 1
    estimate: normal.Estimate
    normal: Tensor  # (M, ...): the direction of the leap
    length: Tensor  # (M,) float64: of the leap, xi
    done: Tensor  # (M,) bool: nothing adversarial was found to start from


@register_attack("hopskipjump")
@dataclass(frozen=True, kw_only=True)
class HopSkipJump(DecisionAttack):
    """From the boundary along its normal, as estimated from labels alone, and back to the boundary nearer to x.

    A round: `first * sqrt(t)` queries at `delta` around the boundary, `v = mean((phi - mean(phi)) u)`; a leap of
    `distance / sqrt(t)` along v, halved until it lands on an adversarial point; then the segment from there to x is
    halved down to `tolerance`. Directions u are random signs; unlike the paper's, delta is `probe * distance / sqrt(D)`
    for images of D entries, and the tolerance is of the same order.

    The first adversarial point is the first of `tries` images of noise that is one; towards a target noise seldom is:
    give `starts`, images of that class. Every row spends its own queries, and the nearest point of all is returned.

    Cost per sample: at most `queries` + 3 queries, no gradient.

    Args:
        queries: number of queries, without the check of the clean image and the verdict.
        first: number of queries in the first estimate of the normal.
        tries: number of points that are tried to find a first adversarial one.
        probe: distance of the probing points from the boundary, in units of distance / sqrt(D).
        tolerance: distance at which the halving ends, in units of distance / sqrt(D).
        starts: images (K, C, H, W) that are tried first.
    """

    norms = ("l2", "linf")
    paper = "Chen et al. 2019, arXiv 1904.02144"
    climbs = False

    first: int = 25
    probe: float = 2.0
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("first", self.first)
        check_positive("probe", self.probe)
        check_positive("tolerance", self.tolerance)

    def init(self, oracle: Oracle) -> State:
        """Begin with the first point to be tried."""
        estimate, zero = normal.no_estimate(oracle), torch.zeros_like(oracle.rows.row)
        first, segment, none = decision.candidate(oracle, 0, self.starts), decision.no_segment(oracle), estimate.total
        return State(first, segment.low, none, zero + START, segment, zero + 1, estimate, none, segment.low, zero < 0)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Make one query for every row, interpret the answer by the row's phase, and choose the next query."""
        oracle.logits(state.x_adv)
        fooled, phase = oracle.fooled, state.phase
        jumping, asking, tolerance = phase == JUMP, phase == ESTIMATE, self._share(oracle, self.tolerance)
        landed, missed = ((phase == START) | jumping) & fooled, jumping & ~fooled
        segment, arrived = decision.looked(oracle, state, landed, torch.where(jumping, 0.2, 0.5), tolerance)
        estimate = state.estimate.updated(state.offset, fooled, asking)
        ready = asking & (estimate.asked >= self.first * state.t.double().sqrt())
        length = torch.where(ready, segment.high / state.t.double().sqrt(), state.length / (1 + missed.double()))
        lost = missed & (length < tolerance * segment.high)
        next_phase = torch.where(ready, JUMP, torch.where(arrived | lost, ESTIMATE, phase))
        state = state._replace(
            phase=torch.where(landed, APPROACH, next_phase),
            segment=segment,
            t=state.t + (landed & jumping) + lost,
            estimate=estimate.cleared(arrived | lost),
            normal=torch.where(per_row(ready, state.normal), estimate.normal(), state.normal),
            length=length,
            done=self._lost(oracle, phase, i),
        )
        return self._query(oracle, state, i + 1)

    def _share(self, oracle: Oracle, units: float) -> float:
        """Convert a length in units of distance / sqrt(D) into a share of the distance."""
        return min(0.5, units / math.sqrt(oracle.x[0].numel()))

    def _query(self, oracle: Oracle, state: State, i: int) -> State:
        """The next query of each row."""
        region, hit, phase = oracle.region, state.segment.hit, state.phase
        far = self._share(oracle, self.probe) * torch.where(phase == START, 0.0, state.segment.high)
        around, offset = normal.probe(oracle, hit, far, decision.directions(oracle, i))
        leap = region.clamp((hit + per_row(state.length, hit) * region.norm.steepest(state.normal)).to(hit.dtype))
        x_adv = torch.where(per_row(phase == ESTIMATE, hit), around, leap)
        x_adv, size = self._ask(oracle, state, x_adv, i)
        return state._replace(x_adv=x_adv, size=size, offset=offset)
