"""`certify`: for which images no point of the ball can change the class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.certification.ball import Ball, ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.graph import Graph, Tracing, trace
from advkit.certification.lipschitz import Stretch, stretch
from advkit.certification.rounding import rounding_of
from advkit.certification.slopes import raised
from advkit.core import door
from advkit.core.classify import looking
from advkit.core.errors import InputError, unknown
from advkit.core.intervals import wilson_interval
from advkit.core.norms import get_norm
from advkit.core.sheet import Sheet, Table
from advkit.core.shown import Shown, sheet_of
from advkit.core.words import beyond_the_range, number, percent, short, span

METHODS = ("ibp", "crown_ibp", "crown", "alpha_crown", "lipschitz")
BATCH = 16
"""Images whose bounds are computed at once."""

FUNCTIONS = 64
"""Margins whose slopes are chosen at once."""


@dataclass(frozen=True, kw_only=True)
class Certificate(Shown):
    """What no attack within the ball can do.

    Attributes:
        certified: (N,) bool: True where every point of the ball is classified as y. False says nothing.
        margin: (N, K) float64: lower bounds of logit y minus the other logit over the ball; 0 at y itself.
        method: name of the method.
        norm: norm of the ball.
        radius: (N,) float64: a radius at which the image is certified, 0 where none was found; None if not asked for.
        eps: (N,) float64: the radius of the ball around each image.
    """

    certified: Tensor
    margin: Tensor
    method: str
    norm: str
    radius: Tensor | None = None
    eps: Tensor | None = None

    @property
    def certified_error(self) -> float:
        """The share of images that are not certified: an upper bound of the error under any attack; NaN for none."""
        return float((~self.certified).double().mean())

    @property
    def certified_error_interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval; (0, 1) of no images."""
        return wilson_interval(int((~self.certified).sum()), len(self.certified)) if len(self.certified) else (0.0, 1.0)

    @property
    def robust_accuracy(self) -> float:
        """The share of images that are certified: a lower bound of the accuracy under any attack; NaN for none."""
        return 1 - self.certified_error

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        low, high = self.certified_error_interval
        return 1 - high, 1 - low

    @property
    def least_margin(self) -> Tensor:
        """(N,) float64: the lower bound of y's lead over the class that comes nearest; > 0 where certified."""
        own = self.margin == 0  # y itself, and nothing that is certified
        return self.margin.where(~own, torch.inf).amin(1)

    def records(self) -> list[dict[str, Any]]:
        """One row an image; the margins are given by the least."""
        columns = {"certified": self.certified, "least_margin": self.least_margin}
        columns |= {name: value for name in ("radius", "eps") if (value := getattr(self, name)) is not None}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]


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
) -> Certificate:
    """Bound the margins of a network over a ball around each image, cut by the range of the pixels.

    The bounds are sound in floating point: they are computed in float64, they are widened by a bound of the rounding of
    the network's own arithmetic (sums in any order), and the ball is rounded outward. Each margin is the larger of the
    interval bound and the method's.

    Args:
        model: an `nn.Module` or a function from images to logits (N, K); it is taken in eval mode and left as it was.
        x: images (N, C, H, W) within `bounds`.
        y: true classes (N,), integers.
        eps: radius of the ball, a number or a tensor (N,).
        norm: "linf", "l2" or "l1".
        method: "ibp" (intervals), "crown_ibp" (intervals inside, linear bounds of the margins), "crown" (linear
            bounds of every layer) or "alpha_crown" (the same with optimised slopes), each tighter and more expensive
            than the one before. "lipschitz" takes the product of the layers' operator norms instead.
        bounds: range of the pixels.
        radius: find by bisection a radius at which each image is certified, at most `eps`.

    Returns:
        A `Certificate`.

    Raises:
        InputError: wrong input, or a layer of which no bound is known; the message names it.
    """
    if method not in METHODS:
        raise unknown("method", str(method), METHODS)
    door.check_model(model)
    bounds = door.check_bounds(bounds)
    door.check_images(x, bounds)
    y = door.check_classes("labels", y, x)
    radii = torch.as_tensor(door.check_eps(eps, x), dtype=torch.float64, device=x.device).expand(len(x))
    if x.device.type == "mps":
        raise InputError("certificates need float64, which this device does not have: move model and images to the CPU")
    tracing = trace(model, x)
    with looking(model, x.device):
        graph = _graph(tracing, method, y)
        ask = _Question(graph, norm, method, bounds, stretch(graph, x.device) if method == "lipschitz" else None)
        margin = ask.margins(x, y, radii)
        found = _bisect(ask, x, y, radii, _is_safe(margin, y)) if radius else None
    return Certificate(certified=_is_safe(margin, y), margin=margin, method=method, norm=norm, radius=found, eps=radii)


def _graph(tracing: Tracing, method: str, y: Tensor) -> Graph:
    graph = tracing.graph()
    classes = graph.nodes[-1].shape[0]
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise InputError(f"labels out of range: saw {int(y.min())} to {int(y.max())}, the model has {classes} classes")
    if method not in ("ibp", "lipschitz") and graph.closed:
        raise InputError(f"no linear bound passes through {graph.closed[0]}: use method='ibp'")
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
    said = "No attack in the ball errs on more than what is not certified. Of that share nothing is known."
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
    stretch: Stretch | None = None

    def margins(self, x: Tensor, y: Tensor, eps: Tensor) -> Tensor:
        """(N, K)."""
        ball = ball_around(x, eps, self.norm, self.bounds)
        places = torch.split(torch.arange(len(x), device=x.device), BATCH)
        parts = [self._some(ball.take(rows), y[rows]) for rows in places if len(rows)]
        return torch.cat(parts) if parts else torch.zeros(0, self.graph.nodes[-1].shape[0], dtype=torch.float64)

    def _some(self, ball: Ball, y: Tensor) -> Tensor:
        """Intervals for all, and the method for those that intervals leave open; Lipschitz constants for all."""
        if self.stretch is not None:
            return self.stretch.margins(ball, y)
        plain = _bounds(self.graph, ball, refined=False)
        rows = _differences(y, self.graph.nodes[-1].shape[0])
        margin = _interval_margins(plain, rows)
        left = (~_is_safe(margin, y)).nonzero().squeeze(1)  # note: a wait for the device
        if self.method == "ibp" or not len(left):
            return margin
        better = _bounds(self.graph, ball.take(left), refined=self.method != "crown_ibp")
        lower = torch.maximum(margin[left], better.lower(len(self.graph.nodes) - 1, rows[left]))
        if self.method == "alpha_crown":
            lower = _raise(better, rows[left], lower)
        return margin.index_copy(0, left, lower)


def _bounds(graph: Graph, ball: Ball, *, refined: bool) -> Bounds:
    made = Bounds(graph, ball, rounding_of(graph.dtype, ball.x.device))
    made.forward(refined=refined)
    return made


def _raise(made: Bounds, rows: Tensor, margin: Tensor) -> Tensor:
    """The margins (N, K) that are not > 0, bounded once more with slopes of their own."""
    place, other = ((margin <= 0) & (rows != 0).any(2)).nonzero().unbind(1)  # note: a wait for the device
    margin = margin.clone()
    for some in torch.split(torch.arange(len(place), device=place.device), FUNCTIONS):
        n, k = place[some], other[some]
        found = raised(made.take(n), rows[n, k])
        margin[n, k] = torch.maximum(margin[n, k], found.bound)
    return margin


def _differences(y: Tensor, classes: int) -> Tensor:
    """(N, K, K): row k of sample n takes logit k from logit y_n."""
    eye = torch.eye(classes, dtype=torch.float64, device=y.device)
    return eye[y][:, None] - eye


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


def _bisect(ask: _Question, x: Tensor, y: Tensor, eps: Tensor, safe: Tensor, halvings: int = 12) -> Tensor:
    """The largest certified radius seen, (N,)."""
    low, high = torch.where(safe, eps, 0.0), eps.clone()
    for _ in range(halvings):
        middle = (low + high) / 2
        holds = _is_safe(ask.margins(x, y, middle), y)
        low, high = torch.where(holds, middle, low), torch.where(holds, high, middle)
    return low
