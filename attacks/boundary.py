"""The boundary attack: Brendel, Rauber, Bethge 2017, algorithm 1 (arXiv 1712.04248)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts import decision
from advkit.attacks.parts.decision import APPROACH, START, DecisionAttack, Segment
from advkit.core.attack import register_attack
from advkit.core.door import check_positive
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle

WALK = 2
"""The phase of a row after those of `parts.decision`: a random walk along the boundary."""

TEST_EVERY = 5
"""Number of steps between two queries for the part along the boundary alone, which adapt its length."""


class State(NamedTuple):
    """Each row is in its own phase; each step makes one query for each row."""

    x_adv: Tensor  # (M, ...): the query
    size: Tensor  # (M,) float64: its distance
    phase: Tensor  # (M,) int64
    segment: Segment
    walked: Tensor  # (M,) int64: queries of the walk
    along: Tensor  # (M,) float64: the step along the boundary as a share of the distance, delta in the paper
    nearer: Tensor  # (M,) float64: the step toward x, the same, epsilon in the paper
    done: Tensor  # (M,) bool: nothing adversarial was found to start from


@register_attack("boundary")
@dataclass(frozen=True, kw_only=True)
class Boundary(DecisionAttack):
    """A random walk along the boundary: a step on the sphere around x, then one toward x; kept if still adversarial.

    Both lengths adapt to how often they succeed: half of the steps on the sphere alone, a quarter of the whole ones.
    The walk begins on the segment between x and the first of `tries` images of noise that is adversarial; towards a
    target noise seldom is: give `starts`, images of that class.

    Cost per sample: at most `queries` + 3 queries, no gradient.

    Args:
        queries: number of queries, without the check of the clean image and the verdict.
        along: length of the first step on the sphere, as a share of the distance.
        nearer: length of the first step toward x, as a share of the distance.
        tries: number of points that are tried to find a first adversarial one.
        starts: images (K, C, H, W) that are tried first.
    """

    norms = ("l2",)
    paper = "Brendel et al. 2017, arXiv 1712.04248"
    climbs = False

    along: float = 0.1
    nearer: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("along", self.along)
        check_positive("nearer", self.nearer)

    def init(self, oracle: Oracle) -> State:
        """Begin with the first point to be tried."""
        zero = torch.zeros(len(oracle.x), dtype=torch.int64, device=oracle.x.device)
        along, nearer = (torch.full_like(zero, length, dtype=torch.float64) for length in (self.along, self.nearer))
        first, segment = decision.candidate(oracle, 0, self.starts), decision.no_segment(oracle)
        return State(first, zero.double(), zero + START, segment, zero, along, nearer, zero < 0)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Make one query for every row, interpret the answer by the row's phase, and choose the next query."""
        oracle.logits(state.x_adv)
        fooled, phase, walked = oracle.fooled, state.phase, state.walked
        landed, walking = (phase == START) & fooled, phase == WALK
        test = walking & (walked % TEST_EVERY == 0)
        moving = walking & ~test
        segment, arrived = decision.looked(oracle, state, landed, share=0.5, tolerance=0.01, beside=moving)
        state = state._replace(
            phase=torch.where(landed, APPROACH, torch.where(arrived, WALK, phase)),
            segment=segment,
            walked=walked + walking,
            along=_adapted(state.along, test, fooled, rate=0.4, share=0.5, most=1.0),
            nearer=_adapted(state.nearer, moving, fooled, rate=0.2, share=0.25, most=0.5),
            done=self._lost(oracle, phase, i),
        )
        x_adv, size = self._ask(oracle, state, self._stroll(oracle, state, i + 1), i + 1)
        return state._replace(x_adv=x_adv, size=size)

    def _stroll(self, oracle: Oracle, state: State, i: int) -> Tensor:
        """A step at right angles to the line to x, back onto the sphere around it, and, but for a test, nearer."""
        region, hit, high = oracle.region, state.segment.hit, state.segment.high.nan_to_num(0.0, posinf=0.0)
        line = (hit - region.x).double()
        out = region.norm.steepest(line).double()
        noise = decision.directions(oracle, i).double()
        noise = noise - per_row((noise * out).flatten(1).sum(1), hit) * out
        point = line + per_row(state.along * high, hit) * region.norm.steepest(noise)
        nearer = torch.where(state.walked % TEST_EVERY == 0, 0.0, state.nearer)
        point = region.norm.project(point, per_row(high, hit)) * per_row(1 - nearer, hit)
        return region.clamp((region.x + point).to(hit.dtype))


def _adapted(length: Tensor, rows: Tensor, fooled: Tensor, *, rate: float, share: float, most: float) -> Tensor:
    """The length, longer after a success and shorter after a failure, in balance where `share` of the steps succeed."""
    factor = torch.exp(rate * (fooled.double() - share))
    return torch.where(rows, (length * factor).clamp(max=most), length)
