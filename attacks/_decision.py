"""What attacks on labels have in common: a first adversarial point, and the way from there to the boundary."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

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


def no_segment(oracle: Oracle) -> Segment:
    """Nothing is known yet."""
    zero = oracle.x.new_zeros(len(oracle.x), dtype=torch.float64)
    return Segment(oracle.x, zero, zero + torch.inf, zero + 0.5)


def begin(segment: Segment, rows: Tensor, share: Tensor | float) -> Segment:
    """On these rows (M,) bool a new segment, whose end is to be seen; the first look is nearer by `share` of it."""
    return segment._replace(
        low=torch.where(rows, 0.0, segment.low),
        share=torch.where(rows, share, segment.share),
    )


def narrow(segment: Segment, tolerance: float) -> Tensor:
    """(M,) bool: the boundary is known to within this share of the distance."""
    return segment.high - segment.low <= tolerance * segment.high


def seen(segment: Segment, point: Tensor, size: Tensor, fooled: Tensor, looked: Tensor) -> Segment:
    """After a look at a point of the segment, at distance size (M,), on the rows `looked` (M,) bool."""
    hit = looked & fooled
    return Segment(
        hit=torch.where(per_row(hit, point), point, segment.hit),
        low=torch.where(looked & ~fooled, size, segment.low),
        high=torch.where(hit, size, segment.high),
        share=torch.where(hit, (2 * segment.share).clamp(max=0.5), segment.share),
    )


def middle(oracle: Oracle, segment: Segment) -> tuple[Tensor, Tensor]:
    """The next point of the segment to look at, and its distance (M,): the hit shrunk toward the image in the norm."""
    nearer = torch.where(segment.low > 0, (segment.low + segment.high) / 2, segment.high * (1 - segment.share))
    return shrunk(oracle, segment.hit, torch.where(segment.high.isfinite(), nearer, 0.0)), nearer


def shrunk(oracle: Oracle, point: Tensor, size: Tensor) -> Tensor:
    """The point moved toward the image until its distance is `size` (M,)."""
    region = oracle.region
    return region.clamp((region.x + region.norm.project(point - region.x, per_row(size, point))).to(point.dtype))


def candidate(oracle: Oracle, j: int, starts: Tensor | None) -> Tensor:
    """The j-th point at which to look for a first adversarial one: the images given, then noise of four kinds.

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


def directions(oracle: Oracle, step: int) -> Tensor:
    """(M, ...) random signs, 64 of them from a number: directions of one length, and cheap."""
    shape = tuple(oracle.x.shape[1:])
    entries = oracle.x[0].numel()
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
