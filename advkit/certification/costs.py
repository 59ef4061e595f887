"""What backward passes through a graph cost: coefficients that are held at once, and multiplications."""

import math

from torch import Tensor

from advkit.certification.curves import Curve
from advkit.certification.graph import Graph
from advkit.certification.linear import Combination, Conv, Scale
from advkit.certification.relu_and_pooling import Maximum

OTHER = 16
"""Multiplications that are as expensive as one coefficient's way through an operation without a matrix."""


def _each(operation: object) -> int:
    """Multiplications for each coefficient behind an operation."""
    weight = getattr(operation, "weight", None)
    return OTHER + (weight[0].numel() if isinstance(weight, Tensor) and weight.ndim > 1 else 0)


def widest(graph: Graph, place: int, *, windows: bool = False) -> int:
    """The most coefficients of one row at any node up to this one.

    Args:
        graph: the network.
        place: the node that the row begins at.
        windows: whether the row is kept as small windows behind convolutions.
    """
    return max(1, *_sizes(graph, place, windows))


def work(graph: Graph, place: int, *, windows: bool) -> float:
    """About how many multiplications the backward pass of a single unit takes; arguments as for `widest`."""
    sizes = _sizes(graph, place, windows)
    return float(sum(n * _each(node.operation) for n, node in zip(sizes, graph.nodes, strict=False)))


def _sizes(graph: Graph, place: int, windows: bool) -> list[int]:
    """Coefficients of one row at each node up to this one."""
    sizes, sides = [], {place: (1, 1)} if windows and len(graph.nodes[place].shape) == 3 else {}
    for i in range(place, -1, -1):
        node, side = graph.nodes[i], sides.get(i)
        whole = math.prod(node.shape)
        sizes.append(whole if side is None else node.shape[0] * side[0] * side[1])
        if side is None or len(node.inputs) != 1 or not _keeps_windows(node.operation):
            continue
        if isinstance(op := node.operation, Conv):
            k, s = op.weight.shape[2:], op.stride
            side = ((side[0] - 1) * s[0] + k[0], (side[1] - 1) * s[1] + k[1])
        before = graph.nodes[node.inputs[0]].shape
        if len(before) == 3 and side[0] * side[1] < before[1] * before[2]:
            sides[node.inputs[0]] = side
    return sizes[::-1]


def _keeps_windows(operation: object) -> bool:
    """Whether windows behind it become windows in front of it."""
    if isinstance(operation, Maximum | Curve):
        return operation.windows.index is None
    if isinstance(operation, Conv):
        return not operation.transposed and operation.groups == 1 and set(operation.dilation) == {1}
    return isinstance(operation, Scale | Combination)
