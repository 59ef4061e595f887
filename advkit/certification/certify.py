"""`certify`: find the images whose class no point of the ball changes."""

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
from advkit.certification.exact import Attacked, BranchAndBound, Decided, Search, check_exact, differences
from advkit.certification.faithful import check_faithful
from advkit.certification.graph import Graph, Tracing, trace
from advkit.certification.lipschitz import Stretch, stretch
from advkit.certification.pace import Pace
from advkit.certification.rounding import check_digits, rounding_of, without_overflow
from advkit.core import door, model_checks
from advkit.core.classify import looking
from advkit.core.errors import InputError, unknown
from advkit.core.float64 import lacks_float64
from advkit.core.intervals import wilson_interval
from advkit.core.norms import get_norm, per_row
from advkit.core.progress_bar import Progress, shows_progress
from advkit.core.saved import alike
from advkit.core.sheet import Sheet, Table
from advkit.core.shown import Shown, sheet_of
from advkit.core.threat import Region, Threat
from advkit.core.words import beyond_the_range, number, percent, short, span

METHODS = ("ibp", "crown_ibp", "crown", "alpha_crown", "exact", "lipschitz")
BATCH = 16
"""Images whose bounds are computed at once, fewer for large networks."""

FUNCTIONS = 64
"""Margins whose slopes are chosen at once, fewer for large networks."""

SLOPES = 40
"""Backward passes that the choice of the slopes of one margin is about as expensive as."""

HALVINGS = 12
"""Steps of the bisection for a radius."""

TIMED = ("crown", "alpha_crown", "exact")
"""Methods that a limit of time ends."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Certificate(Shown):
    """The bounds for every attack within the ball.

    Attributes:
        certified: (N,) bool: True where every point of the ball is classified as y. False means unknown or broken.
        margin: (N, K) float64: lower bounds of logit y minus the other logit over the ball; 0 at y itself. A bound of
            2^-1022, by the method "exact", says that the margin is positive and no more. All are -inf where a number in
            the network may exceed the largest of its type.
        method: name of the method.
        norm: norm of the ball.
        radius: (N,) float64: a radius at which the image is certified, 0 if none was found; None if not requested.
        eps: (N,) float64: the radius of the ball around each image.
        broken: (N,) bool: True where a point of the ball is not classified as y; only for the method "exact", otherwise
            None. An image that is neither certified nor broken is undecided.
        x_adv: (N, C, H, W): such a point for every broken image, a copy of x for others; None if not "exact".
    """

    certified: Tensor
    margin: Tensor
    method: str
    norm: str
    radius: Tensor | None = None
    eps: Tensor | None = None
    broken: Tensor | None = None
    x_adv: Tensor | None = None

    def _brief(self) -> str:
        images, certified = len(self.certified), int(self.certified.sum())
        return f"{images:,} images in {self.norm} by {self.method}, {certified:,} certified"

    def __eq__(self, other: object) -> bool:
        return alike(vars(self), vars(other)) if isinstance(other, Certificate) else NotImplemented

    def __hash__(self) -> int:
        return hash((Certificate, self.method, self.norm, len(self.certified), int(self.certified.sum())))

    @property
    def undecided(self) -> Tensor:
        """(N,) bool: True for images that are neither certified nor broken."""
        return ~self.certified if self.broken is None else ~(self.certified | self.broken)

    @property
    def exact(self) -> bool:
        """Whether every image is decided, so that `certified_error` is the error under the best attack."""
        return not bool(self.undecided.any())

    @property
    def certified_error(self) -> float:
        """The share of images that are not certified: an upper bound of the error under any attack; NaN for none."""
        return float((~self.certified).double().mean())

    @property
    def certified_error_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the certified error; (0, 1) of no images."""
        return wilson_interval(int((~self.certified).sum()), len(self.certified)) if len(self.certified) else (0.0, 1.0)

    @property
    def robust_accuracy(self) -> float:
        """The share of images that are certified: a lower bound of the accuracy under any attack; NaN for none."""
        return 1 - self.certified_error

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the robust accuracy."""
        low, high = self.certified_error_interval
        return 1 - high, 1 - low

    @property
    def least_margin(self) -> Tensor:
        """(N,) float64: the lower bound of y's lead over its closest rival; > 0 for certified images."""
        own = self.margin == 0  # y itself, and nothing that is certified
        return self.margin.where(~own, torch.inf).amin(1)

    def records(self) -> list[dict[str, Any]]:
        """Return one row an image, with the least margin."""
        columns = {"certified": self.certified, "least_margin": self.least_margin}
        columns |= {name: value for name in ("broken", "radius", "eps") if (value := getattr(self, name)) is not None}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]


@shows_progress("certify", "million products")
def certify(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    norm: str = "linf",
    method: str = "crown",
    bounds: tuple[float, float] = (0, 1),
    radius: bool = False,
    attack: Attacked | None = None,
    time_limit: float | None = None,
    nodes: int | None = None,
    tolerance: float | None = None,
    progress: Progress | bool | None = None,
) -> Certificate:
    """Bound the margins of a network over the part of a ball around each image that is within the range of the pixels.

    The bounds are sound in floating point: they are computed in float64, widened by a bound of the rounding in the
    network's own arithmetic (sums in any order), and the ball is rounded outward. Each margin is the larger of the
    interval bound and the method's.

    Args:
        model: an `nn.Module` or a function from images to logits (N, K); it is taken in eval mode and left as it was.
        x: images (N, C, H, W) within `bounds`.
        y: true classes (N,), integers.
        eps: radius of the ball, a number or a tensor (N,).
        norm: "linf", "l2", "l1" or "l0".
        method: "ibp" (intervals), "crown_ibp" (intervals inside, linear bounds of the margins), "crown" (linear
            bounds of every layer) or "alpha_crown" (the same with optimised slopes), each tighter and more expensive
            than the one before. "exact" searches by branch and bound until every image is certified or broken by a
            point. "lipschitz" takes the product of the layers' operator norms instead.
        bounds: range of the pixels.
        radius: find by bisection a radius at which each image is certified, at most `eps`.
        attack: an attack, or another callable `(model, x, y)` that returns points of the balls (N, C, H, W), which
            "exact" tries first.
        time_limit: seconds that "crown", "alpha_crown" or "exact" spends on each image; passes are shared by their
            rows. By default 60 for "exact", and no limit for the others, which warn beforehand if they may take a
            minute. At the limit the bounds found so far count, and they are sound. With `radius` it holds for each step
            of the bisection.
        nodes: number of parts of the ball that "exact" bounds for each image, 20,000 by default.
        tolerance: accuracy to which "exact" bounds the least margin of every image and class; by default it stops as
            soon as the signs are known.
        progress: called with (done, all) in millions of multiplications while linear bounds are made; all is an
            estimate. True shows a bar.

    Returns:
        A `Certificate`.

    Raises:
        InputError: the input is wrong, or no bound is known for a layer, which the message names.
    """
    if method not in METHODS:
        noise = "(randomised smoothing is advkit.defenses.Smoothed(model, sigma).certify(x))"
        raise unknown("method", str(method), METHODS, noise if method == "smoothing" else "")
    search = _search(method, attack, time_limit, nodes, tolerance)
    limit = time_limit if search is None else search.time_limit
    model_checks.check_model(model)
    bounds = door.check_bounds(bounds)
    door.check_images(x, bounds)
    y = door.check_classes("labels", y, x)
    if lacks_float64(x):
        raise InputError("certificates need float64, which this device does not have: move model and images to the CPU")
    radii = torch.as_tensor(door.check_eps(eps, x), dtype=torch.float64, device=x.device).expand(len(x))
    tracing = trace(model, x)
    with looking(model, x.device):
        graph = _graph(tracing, method, y)
        rounding = rounding_of(graph.dtype, x.device)
        check_digits(max(getattr(n.operation, "terms", 1) for n in graph.nodes), rounding, graph.dtype)
        check_faithful(model, graph, x, rounding, bounds)
        times = 1 + HALVINGS if radius else 1
        pace = Pace(method, len(x) * times, limit, progress if callable(progress) else None, x.device)
        ask = _Question(graph, norm, method, bounds, pace, stretch(graph, x.device) if method == "lipschitz" else None)
        if search is not None:
            ask = _Search(graph, norm, method, bounds, pace, model=model, search=search, attack=attack)
        found = ask.decided(x, y, radii)
        safe = _is_safe(found.margin, y)
        reach = _bisect(ask, x, y, radii, safe) if radius else None
        if search is None:  # which says what is undecided
            pace.end()
    more = {"broken": found.broken, "x_adv": found.x_adv} if search is not None else {}
    return Certificate(certified=safe, margin=found.margin, method=method, norm=norm, radius=reach, eps=radii, **more)


def _search(
    method: str, attack: Attacked | None, time_limit: float | None, nodes: int | None, tolerance: float | None
) -> Search | None:
    """When the search of "exact" ends; None for another method."""
    given = {"time_limit": time_limit, "nodes": nodes, "tolerance": tolerance}
    given = {name: value for name, value in given.items() if value is not None}
    if method != "exact":
        foreign = [name for name in given if name != "time_limit"] + ([] if attack is None else ["attack"])
        if foreign:
            raise InputError(f"{foreign[0]} belongs to method='exact', got it with method={method!r}")
        if given and method not in TIMED:
            raise InputError(f"time_limit belongs to the methods {', '.join(TIMED)}, got it with method={method!r}")
    if attack is not None and not callable(attack):
        raise InputError(f"expected attack as an attack or a callable (model, x, y), got {attack!r}")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InputError(f"expected {name} as a number > 0, got {value!r}")
        if name == "nodes" and value != int(value):
            raise InputError(f"expected nodes as a whole number > 0, got {value!r}")
    return None if method != "exact" else Search(**given)  # type: ignore[arg-type]


def _graph(tracing: Tracing, method: str, y: Tensor) -> Graph:
    graph = tracing.graph()
    classes = graph.nodes[-1].shape[0]
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise InputError(f"labels out of range: saw {int(y.min())} to {int(y.max())}, the model has {classes} classes")
    if method not in ("ibp", "lipschitz") and graph.closed:
        raise InputError(f"no linear bound passes through {graph.closed[0]}: use method='ibp'")
    if method == "exact":
        check_exact(graph)
    return graph


@sheet_of.register
def _(found: Certificate) -> Sheet:
    count = len(found.certified)
    if not count:
        return ["No images."]
    radii = [] if found.eps is None else sorted(set(found.eps.tolist()))
    ball = f" of eps {number(radii[0])}{f' to {number(radii[-1])}' if len(radii) > 1 else ''}" if radii else ""
    rows = [("certified", percent(found.robust_accuracy), span(found.robust_accuracy_interval))]
    rows.append(("not certified", percent(found.certified_error), span(found.certified_error_interval)))
    right = ("", "95 % interval")
    if found.broken is not None:
        broken, open_ = int(found.broken.sum()), int(found.undecided.sum())
        rows.append(("broken by a point of the ball", percent(broken / count), span(wilson_interval(broken, count))))
        rows.append(("undecided", percent(open_ / count), span(wilson_interval(open_, count))))
    said = "No attack in the ball errs on more than what is not certified. Of that share nothing is known."
    if found.broken is not None:
        said = f"Exactly {percent(found.certified_error)} of these images can be made wrong within the ball."
        if not found.exact:
            said = f"{open_:,} images are undecided: allow more time_limit and nodes, or try stronger attacks."
    head = f"{count:,} images, {found.norm} ball{ball}, {found.method}"
    radius = [] if found.radius is None else [f"Median certified radius: {short(found.radius.median().item())}."]
    beyond = beyond_the_range(radii[0], get_norm(found.norm).boxed) if radii else ""
    head = f"{head}. {beyond}" if beyond else head
    return [head, Table(("images", *right), rows, right=right), *radius, said]


@dataclass(frozen=True)
class _Question:
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
        left = (~_is_safe(margin, y)).nonzero().squeeze(1)  # note: a wait for the device
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
        """Begin with the images that intervals leave open."""
        work = plain.planned(left, refined=self.method != "crown_ibp")
        last = len(self.graph.nodes) - 1
        margins = len(left) * self.graph.nodes[last].shape[0] * plain.work(last)
        more = margins * SLOPES if self.method in ("alpha_crown", "exact") else 0.0
        self.pace.begin(work + margins + more, len(plain.ball.x), len(left))

    def _tighter(self, ball: Ball, y: Tensor, margin: Tensor) -> tuple[Bounds, Tensor]:
        """Linear bounds of every node, and the margins that follow where they are larger."""
        rows = differences(y, self.graph.nodes[-1].shape[0])
        better = _bounds(self.graph, ball, refined=self.method != "crown_ibp", pace=self.pace)
        lower = torch.maximum(margin, better.lower(len(self.graph.nodes) - 1, rows))
        lower = _raise(better, rows, lower, self.pace) if self.method == "alpha_crown" else lower
        return better, without_overflow(lower, y, better.fits)


@dataclass(frozen=True)
class _Search(_Question):
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
        left = ~_is_safe(margin, y) & ~first.broken if self.search.tolerance is None else torch.ones_like(first.broken)
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
    cost = SLOPES * made.work(len(made.graph.nodes) - 1)
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


def _is_safe(margin: Tensor, y: Tensor) -> Tensor:
    """(N,) bool: every other class stays behind y."""
    own = torch.nn.functional.one_hot(y, margin.shape[1]).bool() if len(y) else torch.zeros_like(margin).bool()
    return ((margin > 0) | own).all(1)


def _bisect(ask: _Question, x: Tensor, y: Tensor, eps: Tensor, safe: Tensor) -> Tensor:
    """The largest certified radius seen, (N,)."""
    low, high = torch.where(safe, eps, 0.0), eps.clone()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        holds = _is_safe(ask.decided(x, y, middle).margin, y)
        low, high = torch.where(holds, middle, low), torch.where(holds, high, middle)
    return low
