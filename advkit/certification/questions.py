"""Margins of a batch at given radii, by each method: what `certify` asks once, or once for each step of a bisection."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from advkit.certification.alpha_crown import raised
from advkit.certification.ball import Ball, ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.composed import composed
from advkit.certification.costs import work
from advkit.certification.exact import Attacked, BranchAndBound, Decided, Search, differences
from advkit.certification.graph import Graph
from advkit.certification.lipschitz import Stretch
from advkit.certification.pace import Pace
from advkit.certification.rounding import rounding_of, without_overflow
from advkit.core.errors import InputError
from advkit.core.norms import per_row
from advkit.core.threat import Region, Threat

BATCH = 16
"""Images whose bounds are computed at once, fewer for large networks."""

FUNCTIONS = 64
"""Margins whose slopes are chosen at once, fewer for large networks."""

SLOPES = 40
"""Backward passes that the choice of the slopes of one margin is about as expensive as."""


@dataclass(frozen=True)
class Question:
    """The margins of any images at any radii, for one network, norm and method."""

    graph: Graph
    norm: str
    method: str
    bounds: tuple[float, float]
    pace: Pace
    stretch: Stretch | None = None

    @property
    def batch(self) -> int:
        """Images whose bounds are computed at once."""
        return self.graph.at_once(BATCH)

    def decided(self, x: Tensor, y: Tensor, eps: Tensor) -> Decided:
        """The margins' lower bounds, (N, K), and what is broken."""
        ball = ball_around(x, eps, self.norm, self.bounds)
        places = torch.split(torch.arange(len(x), device=x.device), self.batch)
        parts = [self._some(ball.take(rows), y[rows]) for rows in places if len(rows)]
        none = torch.zeros(0, self.graph.nodes[-1].shape[0], dtype=torch.float64)
        return Decided(torch.cat(parts) if parts else none, x, torch.zeros_like(y, dtype=torch.bool))

    def _some(self, ball: Ball, y: Tensor) -> Tensor:
        """Intervals for all, and the method for those that intervals leave open; Lipschitz constants for all."""
        if self.stretch is not None:
            return self.stretch.margins(ball, y)
        plain, margin = self._plain(ball, y)
        left = (~is_safe(margin, y)).nonzero().squeeze(1)  # note: a wait for the device
        if self.method == "ibp":
            return margin
        self._plan(plain, left)
        if not len(left):
            return margin
        del plain  # memory
        return margin.index_copy(0, left, self._tighter(ball.take(left), y[left], margin[left])[1])

    def _plain(self, ball: Ball, y: Tensor) -> tuple[Bounds, Tensor]:
        """Intervals of every node, and the margins that follow."""
        plain = _bounds(self.graph, ball, refined=False)
        margin = _interval_margins(plain, differences(y, self.graph.nodes[-1].shape[0]))
        return plain, without_overflow(margin, y, plain.fits)

    def _plan(self, plain: Bounds, left: Tensor) -> None:
        """Begin with the images that intervals leave open; the multiplications are an estimate."""
        planned = 0.0
        for place in self.graph.fronts if self.method != "crown_ibp" else []:
            if not plain.is_boxed(place):
                low, high = plain.low[place][left].flatten(1), plain.high[place][left].flatten(1)
                only = plain.ball.norm.boxed and plain.opens(place)
                units = 1.5 * float(((low < 0) & (high > 0)).sum()) if only else 2.0 * low.numel()
                planned += units * work(self.graph, place, windows=plain.windows)
        last = len(self.graph.nodes) - 1
        margins = len(left) * self.graph.nodes[last].shape[0] * work(self.graph, last, windows=plain.windows)
        more = margins * SLOPES if self.method in ("alpha_crown", "exact") else 0.0
        self.pace.begin(planned + margins + more, len(plain.ball.x), len(left))

    def _tighter(self, ball: Ball, y: Tensor, margin: Tensor) -> tuple[Bounds, Tensor]:
        """Linear bounds of every node, and the margins that follow where they are larger."""
        rows = differences(y, self.graph.nodes[-1].shape[0])
        better = _bounds(self.graph, ball, refined=self.method != "crown_ibp", pace=self.pace)
        lower = torch.maximum(margin, better.lower(len(self.graph.nodes) - 1, rows))
        lower = _raise(better, rows, lower, self.pace) if self.method == "alpha_crown" else lower
        return better, without_overflow(lower, y, better.fits)


@dataclass(frozen=True)
class Searched(Question):
    """Branch and bound for what linear bounds leave open."""

    model: Callable[[Tensor], Tensor] = field(kw_only=True)
    search: Search = field(kw_only=True)
    attack: Attacked | None = field(kw_only=True)

    def decided(self, x: Tensor, y: Tensor, eps: Tensor) -> Decided:
        points = x if self.attack is None or not len(x) else _points(self.attack, self.model, x, y)
        region = Threat(norm=self.norm, eps=eps, bounds=self.bounds).around(x)
        ball, points = ball_around(x, eps, self.norm, self.bounds), region.settle(region.clamp(points))
        places = [rows for rows in torch.split(torch.arange(len(x), device=x.device), self.batch) if len(rows)]
        found = [self._search(ball.take(n), region.take(n), y[n], [x[n], points[n]]) for n in places]
        if not found:
            return super().decided(x, y, eps)
        return Decided(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _search(self, ball: Ball, region: Region, y: Tensor, points: list[Tensor]) -> Decided:
        plain, margin = self._plain(ball, y)
        first = BranchAndBound(self.model, plain, region, y, margin, self.search)
        for some in points:
            first.tried(some)
        left = ~is_safe(margin, y) & ~first.broken if self.search.tolerance is None else torch.ones_like(first.broken)
        found = Decided(margin, first.x_adv, first.broken)
        n = left.nonzero().squeeze(1)  # note: a wait for the device
        self._plan(plain, n)
        if not len(n):
            return found
        start = time.perf_counter()
        better, lower = self._tighter(ball.take(n), y[n], margin[n])
        spent = (time.perf_counter() - start) / len(n)
        second = BranchAndBound(self.model, better, region.take(n), y[n], lower, self.search, first.upper[n], spent)
        last = second.run()
        x_adv = torch.where(per_row(first.broken[n], last.x_adv), first.x_adv[n], last.x_adv)
        return Decided(
            margin.index_copy(0, n, without_overflow(last.margin, y[n], better.fits)),
            first.x_adv.index_copy(0, n, x_adv),
            first.broken.index_copy(0, n, first.broken[n] | last.broken),
        )


def _points(attack: Attacked, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """What the caller's attack found, in the type of the images."""
    found: Any = attack(model, x, y)
    found = getattr(found, "x_adv", found)  # an advkit attack returns a Result
    if not isinstance(found, Tensor) or found.shape != x.shape:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"expected points of shape {tuple(x.shape)} from attack, one for each image, got {got}")
    if not bool(found.isfinite().all()):  # note: a wait for the device
        raise InputError("expected points from attack, got NaN or infinite entries")
    return found.detach().to(x)


def _bounds(graph: Graph, ball: Ball, *, refined: bool, pace: Pace | None = None) -> Bounds:
    made = Bounds(graph, ball, rounding_of(graph.dtype, ball.x.device), pace=pace)
    made.forward(refined=refined, compose=composed if refined else None)
    return made


def _raise(made: Bounds, rows: Tensor, margin: Tensor, pace: Pace) -> Tensor:
    """The margins (N, K) that are not > 0, bounded once more with slopes of their own while there is time."""
    place, other = ((margin <= 0) & (rows != 0).any(2)).nonzero().unbind(1)  # note: a wait for the device
    margin = margin.clone()
    cost = SLOPES * work(made.graph, len(made.graph.nodes) - 1, windows=made.windows)
    for some in torch.split(torch.arange(len(place), device=place.device), made.graph.at_once(FUNCTIONS)):
        if pace.late:
            break
        n, k = place[some], other[some]
        pace.passed(len(some) * cost)
        found = raised(made.take(n), rows[n, k])
        margin[n, k] = torch.maximum(margin[n, k], found.bound)
    return margin


def _interval_margins(found: Bounds, rows: Tensor) -> Tensor:
    """The margins' lower bounds by intervals, the last layer and the difference taken as one map."""
    place = len(found.graph.nodes) - 1
    low, high = found.low[place], found.high[place]
    ends = torch.einsum("nrd,nd->nr", rows.clamp(min=0), low) + torch.einsum("nrd,nd->nr", rows.clamp(max=0), high)
    node = found.graph.nodes[place]
    op: Any = node.operation
    if not hasattr(op, "weight") or len(node.inputs) != 1 or op.weight.ndim != 2:
        return ends
    before = node.inputs[0]
    C = rows @ op.weight  # (N, K, in)
    low, high = found.low[before].flatten(1), found.high[before].flatten(1)
    value = torch.einsum("nrd,nd->nr", C, (low + high) / 2)
    value = value - torch.einsum("nrd,nd->nr", C.abs(), (high - low) / 2)
    bias = 0 if op.bias is None else rows @ op.bias
    return torch.maximum(ends, value + bias - torch.einsum("nrd,nd->nr", rows.abs(), found.slack[place]))


def is_safe(margin: Tensor, y: Tensor) -> Tensor:
    """(N,) bool: every other class stays behind y."""
    own = torch.nn.functional.one_hot(y, margin.shape[1]).bool() if len(y) else torch.zeros_like(margin).bool()
    return ((margin > 0) | own).all(1)
