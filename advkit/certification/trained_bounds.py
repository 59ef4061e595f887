"""Differentiable bounds of the margins, for training: in the network's type, without allowance for rounding."""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.graph import Graph, Input, Operation, Tracing, trace
from advkit.certification.linear import Affine, Dense
from advkit.certification.relu_and_pooling import Maximum
from advkit.certification.rounding import EXACT
from advkit.core.contents import contents_of
from advkit.core.errors import InputError

Ends = tuple[Tensor, Tensor]
"""Least and largest values (N, *shape)."""


class _Known(NamedTuple):
    made_for: object
    tracing: Tracing


_TRACINGS: "WeakKeyDictionary[nn.Module, _Known]" = WeakKeyDictionary()


def tracing_of(model: Callable[[Tensor], Tensor], x: Tensor) -> Tracing:
    """Record the model's operations in eval mode, and again once the form of the images or the model has changed.

    Parameters and buffers that are changed in place, as every optimizer does, are seen by the next `graph()`. A change
    of the model is what `contents_of` sees: other modules, tensors, hooks or attributes. Not seen are changes of
    globals, of closures and of classes, and numbers that the model reads from a tensor by `item()`.

    Raises:
        InputError: the model cannot be traced.
    """
    if not isinstance(model, nn.Module):
        return trace(model, x)
    made_for = (tuple(x.shape[1:]), x.dtype, x.device, contents_of(model))
    known = _TRACINGS.get(model)
    if known is None or known.made_for != made_for:
        known = _TRACINGS[model] = _Known(made_for, trace(model, x))
    return known.tracing


class TrainedBounds:
    """Interval bounds of every node over a linf ball within the range, and bounds of the margins.

    Args:
        model: callable that takes images and returns logits; used in eval mode and left as it was.
        x: images (N, C, H, W) within `bounds`.
        eps: radius of the ball.
        bounds: range of the pixels.

    Raises:
        InputError: no bound is known for a layer, which the message names.
    """

    def __init__(
        self, model: Callable[[Tensor], Tensor], x: Tensor, eps: float, bounds: tuple[float, float] = (0, 1)
    ) -> None:
        self.x, self.eps, self.bounds = x, eps, bounds
        self.graph: Graph = tracing_of(model, x).graph(double=False)
        self.ends: list[Ends] = []
        for node in self.graph.nodes:
            self.ends.append(self._node(node.operation, [self.ends[i] for i in node.inputs]))

    def _node(self, operation: Operation, inputs: Sequence[Ends]) -> Ends:
        if isinstance(operation, Input):
            return (self.x - self.eps).clamp(min=self.bounds[0]), (self.x + self.eps).clamp(max=self.bounds[1])
        if isinstance(operation, Maximum):
            return _maximum(operation, *inputs[0])
        if not isinstance(operation, Affine):
            return operation.interval(*(end for pair in inputs for end in pair))
        middle = operation.linear([(low + high) / 2 for low, high in inputs])
        radius = operation.size([(high - low) / 2 for low, high in inputs])
        middle = middle if operation.bias is None else middle + operation.bias
        return middle - radius, middle + radius

    @property
    def classes(self) -> int:
        """The number of classes K."""
        return self.graph.nodes[-1].shape[0]

    def interval_margins(self, y: Tensor) -> Tensor:
        """Lower bounds (N, K) of logit y minus each other, 0 at y; the last layer and the difference are one map."""
        node = self.graph.nodes[-1]
        rows = self._differences(y)
        if not isinstance(node.operation, Dense):
            low, high = self.ends[-1]
            return _product(rows.clamp(min=0), low) + _product(rows.clamp(max=0), high)
        low, high = self.ends[node.inputs[0]]
        C = rows @ node.operation.weight  # (N, K, in)
        margin = _product(C, (low + high) / 2) - _product(C.abs(), (high - low) / 2)
        return margin if node.operation.bias is None else margin + rows @ node.operation.bias

    def linear_margins(self, y: Tensor) -> Tensor:
        """Return the same by linear bounds of the margins, with intervals inside (CROWN-IBP).

        Raises:
            InputError: no linear bound passes through a layer.
        """
        if self.graph.closed:
            raise InputError(f"no linear bound passes through {self.graph.closed[0]}: train with ibp")
        ball = ball_around(self.x, self.eps, "linf", self.bounds)
        ball = ball._replace(x=self.x, low=self.ends[0][0], high=self.ends[0][1]).cast(self.ends[-1][0].dtype)
        low, high = ([pair[i] for pair in self.ends] for i in (0, 1))
        made = Bounds(self.graph, ball, EXACT, low=low, high=high, slack=[torch.zeros_like(t) for t in low])
        others = torch.arange(1, self.classes, device=y.device).add(y[:, None]).remainder(self.classes)  # (N, K - 1)
        rows = self._differences(y).take_along_dim(others[..., None], 1)
        return torch.zeros_like(low[-1]).scatter(1, others, made.lower(len(low) - 1, rows))

    def _differences(self, y: Tensor) -> Tensor:
        """(N, K, K): row k of sample n takes logit k from logit y_n."""
        eye = torch.eye(self.classes, dtype=self.ends[-1][0].dtype, device=self.x.device)
        return eye[y][:, None] - eye


def _maximum(operation: Maximum, low: Tensor, high: Tensor) -> Ends:
    """Rectifier and pooling by torch's own operations where they have the form, which is faster."""
    pooling = operation.windows.pooling
    if operation.windows.index is not None and pooling is not None:
        sizes = (pooling.kernel, pooling.stride, pooling.padding, pooling.dilation)
        pooled = [F.max_pool2d(end, *sizes) for end in (low, high)]
        if tuple(pooled[0].shape[1:]) == operation.windows.shape:
            low, high = pooled
            return (low.relu(), high.relu()) if operation.rectified else (low, high)
    if operation.windows.index is None and operation.rectified:
        return low.relu(), high.relu()
    return operation.interval(low, high)


def _product(rows: Tensor, z: Tensor) -> Tensor:
    """<row, z> for rows (N, K, D) and z (N, D): (N, K)."""
    return (rows @ z.flatten(1)[..., None]).squeeze(2)
