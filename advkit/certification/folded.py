"""A network over one ball, reduced to the bends that are open there.

Whatever keeps one line over the whole ball is affine, so the input of every open bend is an affine map of the image and
of earlier open bends. The matrices of these maps are far smaller than the layers, so a long search of one ball is
cheaper. The bounds are the same up to rounding.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.certification.bounds import ENTRIES, Bounds
from advkit.certification.costs import widest
from advkit.certification.domains import Domains
from advkit.certification.graph import Graph, Input
from advkit.certification.linear import joint
from advkit.certification.relu_and_pooling import Lines, Maximum
from advkit.certification.rounding import EXACT
from advkit.certification.unit_rows import Rows, units
from advkit.certification.windows import Windows


class Map(NamedTuple):
    """An affine map to some units, and a bound of its error.

    Attributes:
        weight: coefficients of the image and of the open outputs of earlier bends, flat, one after another (U, all).
        bias: (U,).
        error: what rounding may change (U,).
    """

    weight: Tensor
    bias: Tensor
    error: Tensor


@dataclass(frozen=True, kw_only=True)
class Folded:
    """The reduced network of one ball.

    Args:
        made: bounds of every node of the reduced network, one row.
        outputs: positions of the open outputs of each bend in the reduced network, by its place there.
        origin: place of the bend in the network before, by its place in the reduced network.
    """

    made: Bounds
    outputs: dict[int, Tensor]
    origin: dict[int, int]

    def carried(self, found: Domains) -> Domains:
        """The same parts of the ball; assumptions on bends that are affine in the whole ball are left out.

        Args:
            found: domains of this ball in the network before.
        """
        splits, alpha, beta = (
            {i: part[old][..., self.outputs[i]] for i, old in self.origin.items()}
            for part in (found.splits, found.alpha, found.beta)
        )
        return Domains(torch.zeros_like(found.image), found.rival, found.bound, found.age, splits, alpha, beta, {}, {})


def folded(made: Bounds, functions: Tensor) -> Folded:
    """Reduce a network to what is open over one ball.

    Args:
        made: bounds of every node, one row; every bend is a maximum.
        functions: coefficients of the logits (R, K), whose R sums are the outputs of the reduced network.
    """
    lines = {i: _maximum(made, i).lines(made.low[j], made.high[j]) for i, j in _bends(made.graph)}
    open_ = {i: _is_open(line).squeeze(0).nonzero().squeeze(1) for i, line in lines.items()}  # note: waits for device
    stopped = replace(made, lines={i: _stopped(line) for i, line in lines.items()}, pulls={})
    graph = Graph(dtype=made.graph.dtype)
    graph.add(Input(), (), made.graph.nodes[0].shape)
    new = Bounds(graph, made.ball, EXACT, windows=False)
    new.interval(0)
    kept: dict[int, int] = {}  # the open bends so far: their places before and now
    for i, j in ((i, j) for i, j in _bends(made.graph) if len(open_[i])):
        windows, entries = _entries(_maximum(made, i).windows, open_[i], math.prod(made.graph.nodes[j].shape))
        rows = units(
            entries[None],
            made.graph.nodes[j].shape,
            made.low[j].new_ones(1, len(entries)),
            made.ball.x,
            windows=made.windows,
        )
        front = _add_front(new, _map(stopped, j, rows, {old: open_[old] for old in kept}), kept)
        new.low[front], new.high[front] = (t[j].flatten(1)[:, entries] for t in (made.low, made.high))
        kept[i] = graph.add(replace(_maximum(made, i), windows=windows), (front,), windows.shape).place
        new.interval(kept[i])
    last = len(made.graph.nodes) - 1
    _add_front(new, _map(stopped, last, Rows(a=functions[None]), {old: open_[old] for old in kept}), kept)
    return Folded(
        made=new, outputs={kept[i]: open_[i] for i in kept}, origin={place: old for old, place in kept.items()}
    )


def _bends(graph: Graph) -> list[tuple[int, int]]:
    return [(i, graph.nodes[i].inputs[0]) for i in graph.bends]


def _maximum(made: Bounds, place: int) -> Maximum:
    op = made.graph.nodes[place].operation
    assert isinstance(op, Maximum)
    return op


def _is_open(lines: Lines) -> Tensor:
    """(N, outputs) bool: the lines above and below differ."""
    same = (lines.low_slope == lines.high_slope) & (lines.low_offset == lines.high_offset)
    return ~(same & ((lines.low_tap == lines.high_tap) | (lines.low_slope == 0)))


def _stopped(lines: Lines) -> Lines:
    """The same lines; 0 stands for the outputs that are open."""
    open_ = _is_open(lines)
    slopes = {name: torch.where(open_, 0.0, getattr(lines, name)) for name in ("low_slope", "high_slope")}
    offsets = {name: torch.where(open_, 0.0, getattr(lines, name)) for name in ("low_offset", "high_offset")}
    return lines._replace(**slopes, **offsets)


def _entries(windows: Windows, open_: Tensor, none: int) -> tuple[Windows, Tensor]:
    """The windows of some outputs, and the positions of the entries that they look at."""
    if windows.index is None:
        return Windows(shape=(len(open_),)), open_
    index = windows.index.to(open_.device)[:, open_]
    entries = index[index != none].unique()  # type: ignore[no-untyped-call]
    place = torch.searchsorted(entries, index)
    place = torch.where(index == none, len(entries), place)
    return Windows(shape=(len(open_),), index=place), entries


def _map(stopped: Bounds, place: int, rows: Rows, outputs: dict[int, Tensor]) -> Map:
    """Functions of a node as an affine map of the image and of the open outputs of bends."""
    lower, least = _lines(stopped, place, rows, outputs)
    upper, most = _lines(stopped, place, rows.like(-rows.a), outputs)
    reach = [torch.maximum(stopped.ball.low.abs(), stopped.ball.high.abs()).flatten()]
    for i, some in outputs.items():
        reach.append(torch.maximum(stopped.low[i].abs(), stopped.high[i].abs()).flatten()[some])
    differ = (lower + upper).abs() @ torch.cat(reach)  # 0, where both signs are rounded alike
    bias = (least - most) / 2
    return Map(lower, bias, torch.maximum((bias - least).abs(), (-most - bias).abs()) * (1 + 2**-50) + 2 * differ)


def _lines(stopped: Bounds, place: int, rows: Rows, outputs: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
    """Lower lines of functions of a node: coefficients (U, all) and constants (U,)."""
    image, weights, constants = stopped.graph.nodes[0].shape, [], []
    step = max(1, ENTRIES // widest(stopped.graph, place, windows=rows.top is not None))
    for some in torch.split(torch.arange(rows.a.shape[1], device=rows.a.device), step):
        seen: dict[int, Rows] = {}
        row, constant = stopped.line(place, rows.take(some), seen)
        parts = [row.whole(image).a.flatten(2)]
        for i, chosen in outputs.items():
            shape = stopped.graph.nodes[i].shape
            whole = seen[i].whole(shape).a.flatten(2)[..., chosen] if i in seen else None
            parts.append(constant.new_zeros(1, len(some), len(chosen)) if whole is None else whole)
        weights.append(torch.cat(parts, 2)[0])
        constants.append(constant[0])
    return torch.cat(weights), torch.cat(constants)


def _add_front(new: Bounds, found: Map, kept: dict[int, int]) -> int:
    """Append the affine node of a map of the image and of the bends so far."""
    op = joint(found.weight, found.bias)
    place = new.graph.add(op, (0, *kept.values()), (len(found.weight),)).place
    new.interval(place)
    new.slack[place] = new.slack[place] + found.error
    return place
