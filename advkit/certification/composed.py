"""The first layers of a network over a batch of balls, composed once for the passes of all later layers.

A bend that keeps one line over the ball of an image is affine there, so the units of a layer are affine maps of the
image and of the few open bends in front of it. A backward pass that goes through these maps has the bounds of the pass
through every layer, up to rounding, which is counted.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from advkit.certification.bounds import Bounds
from advkit.certification.graph import Graph, Input
from advkit.certification.linear import Affine, Dense, Shape
from advkit.certification.relu_and_pooling import Lines, Maximum
from advkit.certification.rounding import EXACT
from advkit.certification.unit_rows import Rows, units
from advkit.certification.windows import own_entry

LATER = 3
"""Later layers in front of a bend from which on the maps pay."""

SMALLER = 4
"""How many times smaller than the layers behind them the open bends have to be."""

ENTRIES = 2**23
"""The most entries of all maps to one layer."""


@dataclass(frozen=True, kw_only=True)
class Own(Affine):
    """One matrix a sample (N, out, all) on the entries of several inputs, flat, one after another.

    Args:
        weight: the matrices.
    """

    weight: Tensor

    def transpose(self, A: Tensor, shapes: list[Shape]) -> list[Tensor]:  # type: ignore[override]
        whole = A.view(len(self.weight), -1, A.shape[1]) @ self.weight
        parts = torch.split(whole, [math.prod(shape) for shape in shapes], 2)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def pays(graph: Graph, place: int) -> bool:
    """Whether maps to this layer may be smaller than the layers that they replace, and are asked often.

    Args:
        graph: the network.
        place: the layer.
    """
    fronts = graph.fronts
    if place not in fronts or not isinstance(graph.nodes[place].operation, Dense):
        return False
    if any(i < place for node in graph.nodes[place + 1 :] for i in node.inputs):
        return False
    before = [i for i in graph.bends if i < place]
    rectify = all(isinstance(op := graph.nodes[i].operation, Maximum) and op.is_rectifier for i in before)
    widest = max((math.prod(graph.nodes[i].shape) for i in before), default=0)
    own = math.prod(graph.nodes[place].shape)
    return rectify and sum(i > place for i in fronts) >= LATER and own * SMALLER <= widest


def composed(made: Bounds, place: int) -> Bounds | None:
    """Make bounds of a network whose last node is this one, with maps between open bends; None if it does not pay.

    Args:
        made: bounds of every node before this one.
        place: the layer.
    """
    if not pays(made.graph, place):
        return None
    nodes = made.graph.nodes
    bends = [(i, nodes[i].inputs[0]) for i in made.graph.bends if i < place]
    open_ = {i: _open(made.lines_of(i).free) for i, _ in bends}
    count = sum(index.shape[1] for index, _ in open_.values())
    entries = len(made.ball.x) * math.prod(nodes[place].shape) * (count + math.prod(nodes[0].shape))
    if count * SMALLER > sum(math.prod(nodes[i].shape) for i, _ in bends) or entries > ENTRIES:
        return None
    stopped = replace(made, lines={**made.lines, **{i: _stopped(made.lines[i]) for i, _ in bends}}, pulls={})
    graph = Graph(dtype=made.graph.dtype)
    graph.add(Input(), (), nodes[0].shape)
    new = replace(made, graph=graph, windows=False, lines={}, pulls={}, centre=[])
    new.low, new.high, new.slack = made.low[:1], made.high[:1], made.slack[:1]
    kept: dict[int, int] = {}
    for i, j in bends:
        index, _ = open_[i]
        if not index.shape[1]:
            continue
        rows = _units(made, j, index, windows=made.windows)
        front = _front(new, stopped, j, rows, {k: open_[k] for k in kept}, kept)
        shape = (index.shape[1],)
        kept[i] = graph.add(Maximum(windows=own_entry(shape), rectified=True), (front,), shape).place
        for mine, whole in ((new.low, made.low), (new.high, made.high), (new.slack, made.slack)):
            if whole:
                mine.append(whole[i].flatten(1).gather(1, index))
        lines = made.lines[i]
        new.lines[kept[i]] = Lines(*(t.gather(1, index) for t in lines))
    every = torch.arange(math.prod(nodes[place].shape), device=made.ball.x.device).expand(len(made.ball.x), -1)
    _front(new, stopped, place, _units(made, place, every, windows=False), {k: open_[k] for k in kept}, kept)
    return new


def _units(made: Bounds, place: int, index: Tensor, *, windows: bool) -> Rows:
    one = torch.ones_like(index, dtype=made.ball.x.dtype)
    return units(index, made.graph.nodes[place].shape, one, made.ball.x, windows=windows)


def _open(free: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the open bends of each sample (N, U), and 1, or 0 where a sample has fewer: float64."""
    count = int(free.sum(1).amax()) if len(free) else 0  # note: a wait for the device
    index = free.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :count]
    return index, free.gather(1, index).double()


def _stopped(lines: Lines) -> Lines:
    """The same lines; 0 stands for the outputs that are open."""
    low, high, offset = (
        torch.where(lines.free, 0.0, t) for t in (lines.low_slope, lines.high_slope, lines.high_offset)
    )
    return lines._replace(low_slope=low, high_slope=high, high_offset=offset)


def _front(
    new: Bounds,
    stopped: Bounds,
    place: int,
    rows: Rows,
    open_: dict[int, tuple[Tensor, Tensor]],
    kept: dict[int, int],
) -> int:
    """Append the affine node of functions of a node, by the image and the open bends before them."""
    image, weights, constants, errors = stopped.graph.nodes[0].shape, [], [], []
    for some in torch.split(torch.arange(rows.a.shape[1], device=rows.a.device), stopped.step(place)):
        seen: dict[int, Rows] = {}
        lost: list[Tensor] = []
        row, constant = stopped.line(place, rows.take(some), seen, lost=lost)
        parts = [row.whole(image).a.flatten(2)]
        for i, (index, valid) in open_.items():
            if i not in seen:  # on another path
                parts.append(constant.new_zeros(*constant.shape, index.shape[1]))
                continue
            whole = seen[i].whole(stopped.graph.nodes[i].shape).a.flatten(2)
            parts.append(whole.gather(2, index[:, None].expand(-1, len(some), -1)) * valid[:, None])
        weights.append(torch.cat(parts, 2))
        constants.append(constant)
        errors.append(sum(lost, torch.zeros_like(constant)))
    weight, bias, error = torch.cat(weights, 1), torch.cat(constants, 1), torch.cat(errors, 1)
    reach = [torch.maximum(low.abs(), high.abs()).flatten(1) for low, high in zip(new.low, new.high, strict=True)]
    size = (weight.abs() @ torch.cat([reach[i] for i in (0, *kept.values())], 1)[..., None]).squeeze(2) + bias.abs()
    shape, terms = (weight.shape[1],), weight.shape[2] + 1
    at = new.graph.add(Own(weight=weight, bias=bias[:, None], terms=terms), (0, *kept.values()), shape).place
    none = torch.zeros_like(size)
    new.low.append(none)
    new.high.append(none)
    if new.slack:
        new.slack.append(error * (1 + 2**-30) + EXACT.slack(size, terms, 2 * shape[0] + 32))
    return at
