"""The common part of attacks on labels: a first adversarial point, and a search for the boundary."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from advkit.core.attack import MinimalAttack
from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle

START, APPROACH = 0, 1
"""Phases of a row: looking for a first adversarial point; halving the way from the image to such a point."""


class Segment(NamedTuple):
    """The way from the image to an adversarial point, as far as it is known."""

    hit: Tensor  # (M, ...): adversarial, x where there is no such point yet
    low: Tensor  # (M,) float64: the largest distance that is known not to fool, 0 if none
    high: Tensor  # (M,) float64: that of `hit`, inf where there is none
    share: Tensor  # (M,) float64: of `high`, by how much the next look is nearer while `low` is 0


class Walker(Protocol):
    """The part of a state that says where each row is."""

    @property
    def x_adv(self) -> Tensor:
        """(M, ...): the query."""

    @property
    def size(self) -> Tensor:
        """(M,) float64: its distance, in the phase APPROACH."""

    @property
    def phase(self) -> Tensor:
        """(M,) int64."""

    @property
    def segment(self) -> Segment:
        """What is known of the way."""


@dataclass(frozen=True, kw_only=True)
class DecisionAttack(MinimalAttack):
    """A minimal attack that sees labels only; each step is one query of every row, which is in a phase of its own.

    Args:
        queries: number of queries, without the check of the clean image and the verdict.
        tries: number of points that are tried to find a first adversarial one.
        starts: images (K, C, H, W) that are tried first.
    """

    knowledge = "labels"
    starts_at_x = False
    deterministic = False

    norm: str = "l2"
    queries: int = 5000
    tries: int = 100
    starts: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("queries", self.queries)
        check_count("tries", self.tries)
        check_starts(self.starts)

    @property
    def total_steps(self) -> int:
        """One a query."""
        return self.queries

    def _lost(self, oracle: Oracle, phase: Tensor, i: int) -> Tensor:
        """(M,) bool: after query i no point to start from is left to be tried."""
        return (phase == START) & ~oracle.fooled & (i + 1 >= self.tries)

    def _ask(self, oracle: Oracle, state: Walker, own: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """Query i and its distance (M,): a first point or one of the segment, by the phase, and `own` in any other."""
        x_adv, size = middle(oracle, state.segment)
        x_adv = torch.where(per_row(state.phase == APPROACH, own), x_adv, own)
        if i < self.tries:
            x_adv = torch.where(per_row(state.phase == START, own), candidate(oracle, i, self.starts), x_adv)
        return x_adv, size


def no_segment(oracle: Oracle) -> Segment:
    """Nothing is known yet."""
    zero = oracle.x.new_zeros(len(oracle.x), dtype=torch.float64)
    return Segment(oracle.x, zero, zero + torch.inf, zero + 0.5)


def new_segment(segment: Segment, rows: Tensor, share: Tensor | float) -> Segment:
    """On these rows (M,) bool a new segment, whose end has been seen; the first look is nearer by `share`."""
    return segment._replace(
        low=torch.where(rows, 0.0, segment.low),
        share=torch.where(rows, share, segment.share),
    )


def narrow(segment: Segment, tolerance: float) -> Tensor:
    """(M,) bool: the boundary is known to within this share of the distance."""
    return segment.high - segment.low <= tolerance * segment.high


def after_look(segment: Segment, point: Tensor, size: Tensor, fooled: Tensor, looked: Tensor) -> Segment:
    """After a look at a point of the segment, at distance size (M,), on the rows `looked` (M,) bool.

    One that fools doubles the share by which the next is nearer, up to a half.
    """
    hit = looked & fooled
    return Segment(
        hit=torch.where(per_row(hit, point), point, segment.hit),
        low=torch.where(looked & ~fooled, size, segment.low),
        high=torch.where(hit, size, segment.high),
        share=torch.where(hit, (2 * segment.share).clamp(max=0.5), segment.share),
    )


def looked(
    oracle: Oracle, state: Walker, landed: Tensor, share: Tensor | float, tolerance: float, beside: Tensor | None = None
) -> tuple[Segment, Tensor]:
    """Return the segment after the latest query; and (M,) bool, the rows that have come to the boundary along it.

    Args:
        oracle: the oracle that has answered the query.
        state: the state before the query.
        landed: (M,) bool, True where the query is the end of a new segment.
        share: the first look at a new segment is nearer to the image by this share of the distance.
        tolerance: the boundary is found when it is known to within this share of the distance.
        beside: (M,) bool, True where the query lies beside the segment; it replaces the end if it fools and is nearer.
    """
    approach = state.phase == APPROACH
    size = torch.where(approach, state.size, oracle.region.distance(state.x_adv))
    counts = landed | approach
    if beside is not None:
        counts = counts | (beside & oracle.fooled & (size < state.segment.high))
    segment = new_segment(after_look(state.segment, state.x_adv, size, oracle.fooled, counts), landed, share)
    return segment, approach & narrow(segment, tolerance)


def middle(oracle: Oracle, segment: Segment) -> tuple[Tensor, Tensor]:
    """The next point of the segment to look at, and its distance (M,): the hit shrunk toward the image in the norm."""
    nearer = torch.where(segment.low > 0, (segment.low + segment.high) / 2, segment.high * (1 - segment.share))
    return at_distance(oracle, segment.hit, torch.where(segment.high.isfinite(), nearer, 0.0)), nearer


def at_distance(oracle: Oracle, point: Tensor, size: Tensor) -> Tensor:
    """Return the point moved toward the image until its distance is `size` (M,)."""
    region = oracle.region
    return region.clamp((region.x + region.norm.project(point - region.x, per_row(size, point))).to(point.dtype))


def candidate(oracle: Oracle, j: int, starts: Tensor | None) -> Tensor:
    """Return the j-th point at which to look for a first adversarial one: the images given, then noise of four kinds.

    Raises:
        InputError: the images given are of another shape.
    """
    region, shape = oracle.region, tuple(oracle.x.shape[1:])
    low, high = region.low, region.high
    if starts is not None and j < len(starts):
        if starts.shape[1:] != shape:
            raise InputError(f"expected starts of the shape of the images, {shape}, got {tuple(starts.shape[1:])}")
        return region.clamp(starts[j].to(region.x).expand_as(region.x))
    j -= 0 if starts is None else len(starts)
    noise = oracle.draws.uniform(j, shape, stream=1).to(low.dtype)
    level = per_row(oracle.draws.uniform(j, (1,), stream=2).squeeze(1), low).to(low.dtype)
    share = [noise, (noise < level).to(low.dtype), level + 0.3 * (noise - 0.5), 1 - (region.x - low) / (high - low)]
    return region.clamp(low + share[j % 4].nan_to_num(0.0) * (high - low))


def directions(oracle: Oracle, step: int, shape: tuple[int, ...] | None = None) -> Tensor:
    """(M, ...) random signs, 64 of them from a number: directions of one length, and cheap. By default x's shape."""
    shape = tuple(oracle.x.shape[1:]) if shape is None else shape
    entries = math.prod(shape)
    bits = oracle.draws.bits(step, (-(-entries // 64),), stream=3)  # (M, D / 64)
    places = torch.arange(64, device=bits.device)
    signs = 2 * ((bits[..., None] >> places) & 1) - 1  # (M, D / 64, 64)
    return signs.flatten(1)[:, :entries].reshape(-1, *shape).to(torch.promote_types(oracle.x.dtype, torch.float32))


def check_starts(starts: Any) -> None:
    """None, or images.

    Raises:
        InputError: neither.
    """
    if starts is not None and not (isinstance(starts, Tensor) and starts.is_floating_point() and starts.ndim > 1):
        raise InputError("expected starts as a tensor of images (K, C, H, W), each a first point to be tried")
