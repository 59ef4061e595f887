"""Bounds of every node: intervals forward (IBP, arXiv 1810.12715), linear bounds backward (CROWN, arXiv 1811.00866)."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advkit.certification.ball import Ball
from advkit.certification.curves import Tanh
from advkit.certification.elementary import Power, Product
from advkit.certification.graph import Graph, Input
from advkit.certification.linear import Affine
from advkit.certification.maximum import Lines, Maximum
from advkit.certification.rounding import DOUBLE, Rounding, gamma
from advkit.core.errors import InputError

ENTRIES = 2**23
"""Coefficients at once in a backward pass."""


@dataclass
class Bounds:
    """What is known of every node over the ball of each sample.

    Args:
        graph: the network.
        ball: the inputs.
        rounding: the network's own arithmetic.
    """

    graph: Graph
    ball: Ball
    rounding: Rounding
    low: list[Tensor] = field(default_factory=list)
    high: list[Tensor] = field(default_factory=list)
    slack: list[Tensor] = field(default_factory=list)
    lines: dict[int, Lines] = field(default_factory=dict)

    def forward(self, *, refined: bool) -> None:
        """Bound all nodes in order.

        Args:
            refined: intersect the interval in front of every bend with its linear bounds.
        """
        fronts = {i for b in self.graph.bends for i in self.graph.nodes[b].inputs}
        for place in range(len(self.graph.nodes)):
            self._interval(place)
            if place in fronts and (refined or self._is_first(place)):
                self._refine(place)

    def _is_first(self, place: int) -> bool:
        """Whether an affine map of the image would be bounded by its box alone, where the ball is smaller."""
        if self.ball.norm.boxed or place == 0:
            return False
        return all(isinstance(n.operation, Input | Affine) for n in self.graph.nodes[: place + 1])

    def _interval(self, place: int) -> None:
        node = self.graph.nodes[place]
        op = node.operation
        lows, highs = [self.low[i] for i in node.inputs], [self.high[i] for i in node.inputs]
        if isinstance(op, Input):
            low, high = self.ball.low, self.ball.high
            size = torch.maximum(low.abs(), high.abs())
            slack = gamma(size[0].numel() + 32, DOUBLE) * 4 * size
        elif isinstance(op, Affine):
            middle = op.linear([(a + b) / 2 for a, b in zip(lows, highs, strict=True)])
            radius = op.size([(b - a) / 2 for a, b in zip(lows, highs, strict=True)])
            size = op.size([torch.maximum(a.abs(), b.abs()) for a, b in zip(lows, highs, strict=True)])
            if op.bias is not None:
                middle, size = middle + op.bias, size + op.offset_size
            slack = self.rounding.slack(size, op.terms, op.width + middle[0].numel())
            low, high = middle - radius - slack, middle + radius + slack
        else:
            low, high = op.interval(*(t for pair in zip(lows, highs, strict=True) for t in pair))
            slack = self._bend_slack(op, torch.maximum(lows[0].abs(), highs[0].abs()), low, high)
            if not isinstance(op, Maximum):
                low, high = low - slack, high + slack
        self.low.append(low)
        self.high.append(high)
        self.slack.append(slack)

    def _bend_slack(self, op: Maximum | Tanh | Product | Power, size: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Rounding of a line, and of the network's own function where it is not exact."""
        own = torch.maximum(low.abs(), high.abs())
        relative = 4 * gamma(low[0].numel() + 64, DOUBLE)
        if isinstance(op, Maximum):
            taps = op.windows.taps(size).amax(1).view(-1, *op.windows.shape)
            return relative * taps
        model = gamma(16, self.rounding.unit)
        if isinstance(op, Tanh):
            return relative * (size + 1) + model
        return (relative + model) * own + self.rounding.tiny

    def _refine(self, place: int) -> None:
        """Linear bounds of the units in front of a bend whose sign is open."""
        low, high = self.low[place].flatten(1), self.high[place].flatten(1)
        always = not self.ball.norm.boxed or self._closes(place)
        open_ = torch.ones_like(low, dtype=torch.bool) if always else (low < 0) & (high > 0)
        units = open_.any(0).nonzero().squeeze(1)  # note: a wait for the device
        if not len(units):
            return
        one_hot = torch.nn.functional.one_hot(units, low.shape[1]).to(low.dtype)
        rows = torch.cat([one_hot, -one_hot]).view(1, -1, *self.graph.nodes[place].shape)
        least = self.lower(place, rows.expand(len(low), *rows.shape[1:]))
        below, above = least.chunk(2, 1)
        low = low.index_copy(1, units, torch.maximum(low[:, units], below))
        high = high.index_copy(1, units, torch.minimum(high[:, units], -above))
        self.low[place] = torch.minimum(low, high).view_as(self.low[place])
        self.high[place] = torch.maximum(low, high).view_as(self.low[place])

    def _closes(self, place: int) -> bool:
        """Whether more than the sign of this node counts: pooling compares units, tanh bends everywhere."""
        ops = [n.operation for n in self.graph.nodes if place in n.inputs]
        return any(not (isinstance(o, Maximum) and o.rectified and o.windows.index is None) for o in ops)

    def lower(self, place: int, A: Tensor) -> Tensor:
        """A lower bound of <A, node> over the ball, for coefficients A (N, R, *shape): (N, R)."""
        widest = max(math.prod(n.shape) for n in self.graph.nodes[: place + 1])
        step = max(1, ENTRIES // (len(A) * widest))
        return torch.cat([self._lower(place, part) for part in A.split(step, 1)], 1)

    def _lower(self, place: int, A: Tensor) -> Tensor:
        held: dict[int, Tensor] = {place: A}
        total = A.new_zeros(A.shape[:2])
        for i in range(place, -1, -1):
            if i not in held:
                continue
            a, node = held.pop(i), self.graph.nodes[i]
            total = total - _product(a.abs(), self.slack[i])
            if isinstance(node.operation, Input):
                total = total + self.ball.least(a)
            elif isinstance(node.operation, Affine):
                if node.operation.bias is not None:
                    total = total + (a * node.operation.bias).flatten(2).sum(2)
                shapes = [self.graph.nodes[j].shape for j in node.inputs]
                back = node.operation.transpose(a.flatten(0, 1), shapes)
                for j, b, shape in zip(node.inputs, back, shapes, strict=True):
                    b = b.reshape(*a.shape[:2], *shape)
                    held[j] = held[j] + b if j in held else b
            elif isinstance(node.operation, Maximum | Tanh):
                j = node.inputs[0]
                b, constant = self._bend(i, a)
                total = total + constant
                held[j] = held[j] + b if j in held else b
            else:
                raise InputError(f"no linear bound passes through {node.operation.name}: use method='ibp'")
        return total

    def _bend(self, i: int, a: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients behind a bend -> those in front of it, and a constant."""
        node = self.graph.nodes[i]
        op, j = node.operation, node.inputs[0]
        assert isinstance(op, Maximum | Tanh)
        if i not in self.lines:
            self.lines[i] = op.lines(self.low[j], self.high[j])
        lines = self.lines[i]
        up, down = a.flatten(2).clamp(min=0), a.flatten(2).clamp(max=0)
        constant = _product(up, lines.low_offset) + _product(down, lines.high_offset)
        up, down = up * lines.low_slope[:, None], down * lines.high_slope[:, None]
        shape = (*a.shape[:2], *self.graph.nodes[j].shape)
        if op.windows.index is None:
            return (up + down).view(shape), constant
        back = a.new_zeros(*a.shape[:2], math.prod(self.graph.nodes[j].shape) + 1)
        for part, tap in ((up, lines.low_tap), (down, lines.high_tap)):
            position = op.windows.position(tap)
            assert position is not None
            back = back.scatter_add(2, position[:, None].expand_as(part), part)
        return back[..., :-1].reshape(shape), constant


def _product(a: Tensor, t: Tensor) -> Tensor:
    """<a, t> for a (N, R, ...) and t (N, ...): (N, R)."""
    return torch.einsum("nrd,nd->nr", a.flatten(2), t.flatten(1))
