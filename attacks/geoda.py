"""GeoDA: Rahmati, Moosavi-Dezfooli, Frossard, Dai 2020, algorithm 1 (arXiv 2003.06468)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts import decision, normal
from advkit.attacks.parts.decision import APPROACH, START, DecisionAttack, Segment, after_look, narrow
from advkit.attacks.parts.waves import smooth
from advkit.core.attack import register_attack
from advkit.core.best_points import choose
from advkit.core.door import check_count, check_positive
from advkit.core.errors import InputError
from advkit.core.frame import frame
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle

ESTIMATE, RAY = 2, 3
"""Phases of a row, after those of `parts.decision`: asking around the boundary; from the image along the normal."""

FARTHEST = 8.0
"""A ray is given up when it does not fool at this many times the distance that is known already."""

LEAST = 8
"""Minimum number of frequencies along a side, so that small images keep all of theirs."""


class State(NamedTuple):
    """Each row is in its own phase; each step makes one query for each row."""

    x_adv: Tensor  # (M, ...): the query
    size: Tensor  # (M,) float64: its distance, in the phase APPROACH
    offset: Tensor  # (M, ...): its direction from the boundary, in the phase ESTIMATE
    phase: Tensor  # (M,) int64
    segment: Segment  # its `hit` is the point of the boundary around which is asked
    t: Tensor  # (M,) int64: the round, from 0
    estimate: normal.Estimate
    normal: Tensor  # (M, ...): the direction of the ray, of size 1
    ray: Segment  # in lengths of the ray before the range cuts it
    length: Tensor  # (M,) float64: the query's, in the phase RAY
    done: Tensor  # (M,) bool: nothing adversarial was found to start from


@register_attack("geoda")
@dataclass(frozen=True, kw_only=True)
class GeoDA(DecisionAttack):
    """From the image along the normal of the boundary, which is estimated at the point of it that is known.

    A round: N_t queries around the point, `w = sum_i rho_i eta_i`, rho_i = 1 where the answer fools and -1 elsewhere;
    the least step from x along the steepest direction of w that fools. N_t grows by `decay ** (-2 / 3)`, which is
    optimal. Directions eta are sums of low cosine waves with random signs. As in the authors' code the answers of
    earlier rounds stay in the sum. A round begins at the nearest point so far, the paper's at the latest.

    The first adversarial point is the first of `tries` images of noise that is one; towards a target noise seldom is:
    give `starts`, images of that class.

    Cost per sample: at most `queries` + 3 queries, no gradient.

    Args:
        queries: number of queries, without the check of the clean image and the verdict.
        first: number of queries in the first estimate of the normal.
        decay: factor by which a round is taken to shrink what the distance is above the least one, below 1.
        frequencies: share of the frequencies along each side that are used, the lowest ones; at least 8 are used.
        tries: number of points that are tried to find a first adversarial one.
        probe: distance of the probing points from the boundary, in units of distance / sqrt(D).
        tolerance: relative precision of the distance at which the boundary is found.
        starts: images (K, C, H, W) that are tried first.
    """

    norms = ("l2", "linf")
    paper = "Rahmati et al. 2020, arXiv 2003.06468"
    climbs = False

    first: int = 30
    decay: float = 0.75
    frequencies: float = 0.3
    probe: float = 1.0
    tolerance: float = 0.0003

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("first", self.first)
        for name in ("decay", "frequencies", "probe", "tolerance"):
            check_positive(name, getattr(self, name))
        if self.decay >= 1 or self.frequencies > 1:
            raise InputError(f"expected decay < 1 and frequencies <= 1, got {self.decay!r} and {self.frequencies!r}")

    def init(self, oracle: Oracle) -> State:
        """Begin with the first point to be tried."""
        estimate, zero = normal.no_estimate(oracle), torch.zeros_like(oracle.rows.row)
        first, none = decision.candidate(oracle, 0, self.starts), decision.no_segment(oracle)
        v, low = estimate.total, none.low
        return State(first, low, v, zero + START, none, zero, estimate, v, none, low, zero < 0)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Make one query for every row, interpret the answer by the row's phase, and choose the next query."""
        oracle.logits(state.x_adv)
        phase, fooled = state.phase, oracle.fooled
        landed, asking, along = (phase == START) & fooled, phase == ESTIMATE, phase == RAY
        segment, arrived = decision.looked(oracle, state, landed, share=0.5, tolerance=self.tolerance)
        estimate = state.estimate.updated(state.offset, fooled, asking)
        ready = asking & (estimate.asked >= self._needed(state.t))
        ray = after_look(state.ray, state.x_adv, state.length, fooled, along)
        found = along & ray.high.isfinite() & narrow(ray, self.tolerance)
        over = found | (along & ray.high.isinf() & (ray.low >= FARTHEST * segment.high))
        size = oracle.region.distance(ray.hit)
        nearer = found & (size < segment.high)
        v = oracle.region.norm.steepest(estimate.normal()).to(state.normal.dtype)
        state = state._replace(
            phase=torch.where(landed, APPROACH, torch.where(ready, RAY, torch.where(arrived | over, ESTIMATE, phase))),
            segment=choose(nearer, segment._replace(hit=ray.hit, high=size), segment),
            t=state.t + over,
            estimate=estimate,
            normal=torch.where(per_row(ready, v), v, state.normal),
            ray=choose(ready, decision.no_segment(oracle)._replace(share=0 * size + 0.05), ray),
            done=self._lost(oracle, phase, i),
        )
        return self._query(oracle, state, i + 1)

    def _needed(self, t: Tensor) -> Tensor:
        """(M,): the answers of rounds 0 to t together."""
        growth = self.decay ** (-2 / 3)
        needed: Tensor = self.first * (growth ** (t.double() + 1) - 1) / (growth - 1)
        return needed

    def _query(self, oracle: Oracle, state: State, i: int) -> State:
        """The next query of each row."""
        region, hit, ray, phase = oracle.region, state.segment.hit, state.ray, state.phase
        far = self.probe / math.sqrt(hit[0].numel()) * torch.where(phase == START, 0.0, state.segment.high)
        around, offset = normal.probe(oracle, hit, far, self._direction(oracle, i))
        onwards = torch.where(ray.low > 0, 2 * ray.low, state.segment.high.nan_to_num(0.0, posinf=0.0))
        back = torch.where(ray.low > 0, (ray.low + ray.high) / 2, ray.high * (1 - ray.share))
        length = torch.where(ray.high.isinf(), onwards, back)
        point = region.clamp((region.x + per_row(length, hit) * state.normal).to(hit.dtype))
        x_adv, size = self._ask(oracle, state, torch.where(per_row(phase == ESTIMATE, hit), around, point), i)
        return state._replace(x_adv=x_adv, size=size, offset=offset, length=length)

    def _direction(self, oracle: Oracle, i: int) -> Tensor:
        """(M, ...): the lowest waves with random signs."""
        shape = tuple(oracle.x.shape[1:])
        channels, *sides = frame(shape)
        few = (min(side, max(LEAST, round(self.frequencies * side))) for side in sides)
        return smooth(decision.directions(oracle, i, (channels, *few)), shape)
