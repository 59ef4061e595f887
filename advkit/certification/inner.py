"""Bounds of the units inside, each with slopes of its own: alpha-CROWN for every layer (arXiv 2011.13824, section 3.1).

Every bound of a bend's input makes the lines there tighter, and with them all bounds behind.
"""

import math

import torch
from torch import Tensor

from advkit.certification.alpha_crown import raised
from advkit.certification.bounds import Bounds
from advkit.certification.graph import Graph

STEPS = 10
"""Steps of ascent for every unit."""

UNITS = 128
"""Units whose slopes are chosen at once."""


def tightened(made: Bounds) -> Bounds:
    """The same bounds, or tighter ones, of all units in front of a bend whose sign is open.

    Args:
        made: bounds of every node, linear ones where they are tighter than intervals.
    """
    made = made.take(torch.arange(len(made.ball.x), device=made.ball.x.device))
    made.lines = {}
    for place in _inner(made.graph):
        _tighten(made, place)
    return made


def open_units(made: Bounds) -> Tensor:
    """Number of the units that `tightened` bounds again, (N,) integers.

    Args:
        made: bounds of every node.
    """
    parts = [_open(made, place).sum(1) for place in _inner(made.graph)]
    return torch.stack([torch.zeros(len(made.ball.x), dtype=torch.int64, device=made.ball.x.device), *parts]).sum(0)


def _inner(graph: Graph) -> list[int]:
    """Places of the nodes in front of bends that have a bend before them."""
    return [i for i in graph.fronts if graph.bends[0] < i]


def _open(made: Bounds, place: int) -> Tensor:
    """Units (N, D) whose bounds decide which lines there are."""
    low, high = made.low[place].flatten(1), made.high[place].flatten(1)
    return (low < 0) & (high > 0) if made.opens(place) else low < high


def _tighten(made: Bounds, place: int) -> None:
    """Raise the lower ends and sink the upper ends at one node."""
    row, unit = _open(made, place).nonzero().unbind(1)  # note: a wait for the device
    low, high, light = made.low[place].flatten(1).clone(), made.high[place].flatten(1).clone(), made.light()
    for some in torch.split(torch.arange(len(row), device=row.device), UNITS):
        n, u = row[some], unit[some]
        low[n, u] = torch.maximum(low[n, u], _least(made, light, place, n, u, 1.0))
        high[n, u] = torch.minimum(high[n, u], -_least(made, light, place, n, u, -1.0))
    shape = made.low[place].shape
    made.low[place], made.high[place] = torch.minimum(low, high).view(shape), torch.maximum(low, high).view(shape)


def _least(made: Bounds, light: Bounds, place: int, n: Tensor, unit: Tensor, sign: float) -> Tensor:
    """Lower bounds of single units times a sign (M,)."""
    shape = made.graph.nodes[place].shape
    C = made.low[place].new_zeros(len(n), math.prod(shape)).scatter_(1, unit[:, None], sign).view(-1, *shape)
    some = made.take(n)
    return raised(some, C, light=some if light is made else light.take(n), place=place, steps=STEPS).bound
