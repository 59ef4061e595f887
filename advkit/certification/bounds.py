"""Bounds of every node: forward intervals (IBP, arXiv 1810.12715), backward linear bounds (CROWN, arXiv 1811.00866)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from advkit.certification.ball import Ball, rows_of
from advkit.certification.costs import widest, work
from advkit.certification.curves import Curve, Tanh
from advkit.certification.early import Early
from advkit.certification.elementary import Power, Product
from advkit.certification.graph import Graph, Input
from advkit.certification.linear import Affine, Combination, Conv, Dense, Move, Scale
from advkit.certification.pace import Pace
from advkit.certification.relu_and_pooling import Lines, Maximum
from advkit.certification.rounding import DOUBLE, Rounding, gamma
from advkit.certification.unit_rows import Rows, units
from advkit.core.errors import InputError

ENTRIES = 2**21
"""Coefficients at once in a backward pass."""

FAR = 4.0
"""How far the end of an interval may lie beyond the values of its layer before linear bounds are asked for it."""


@dataclass
class Bounds:
    """The bounds of every node over the ball of each sample.

    Args:
        graph: the network.
        ball: the inputs.
        rounding: the network's own arithmetic.
        windows: keep rows behind convolutions as small windows; the bounds are the same without.
    """

    graph: Graph
    ball: Ball
    rounding: Rounding
    windows: bool = True
    low: list[Tensor] = field(default_factory=list)
    high: list[Tensor] = field(default_factory=list)
    slack: list[Tensor] = field(default_factory=list)
    """What rounding may change of every node; empty: rounding is not counted."""
    most: Tensor | float = 0.0
    """Bound of every number in the network's own arithmetic (N,), sums that are not complete included."""
    centre: list[Tensor] = field(default_factory=list)
    """Values of the first nodes at the centre of each ball, about."""
    lines: dict[int, Lines] = field(default_factory=dict)
    pulls: dict[int, Tensor] = field(default_factory=dict)
    """What a multiplier of a constraint adds to the coefficients (N, *in) in front of a bend, by its place."""
    pace: Pace | None = None
    """The time that is left; units that find none keep their intervals."""
    first: tuple[int, "Bounds"] | None = None
    """A layer and the network up to it, composed, which `forward` uses for later layers."""

    def take(self, rows: Tensor) -> "Bounds":
        """Return the bounds of some samples, by index, which may repeat."""
        kept = ([rows_of(t, rows) for t in part] for part in (self.low, self.high, self.slack))
        low, high, slack = kept
        lines = {i: lines.take(rows) for i, lines in self.lines.items()}
        ball = self.ball.take(rows)
        return replace(self, ball=ball, low=low, high=high, slack=slack, lines=lines, pulls={}, centre=[], first=None)

    def light(self) -> "Bounds":
        """The same in the network's own type and without an allowance for rounding, to choose slopes by.

        Any slope is sound, so the search for good ones needs no proof. Balls in l2 and l1 stay in float64, which their
        least values need.
        """
        dtype = torch.promote_types(self.graph.dtype, torch.float32)
        if not self.ball.norm.boxed or dtype == torch.float64:
            return self
        fronts = self.graph.fronts  # lines need no other bounds
        low, high = (
            [t.to(dtype) if i in fronts else t.new_zeros(len(t), 0) for i, t in enumerate(part)]
            for part in (self.low, self.high)
        )
        return Bounds(self.graph.cast(dtype), self.ball.cast(dtype), self.rounding, self.windows, low, high)

    def forward(self, *, refined: bool, compose: Callable[["Bounds", int], "Bounds | None"] | None = None) -> None:
        """Bound all nodes, in order.

        Args:
            refined: whether to intersect the interval before every nonlinear node with its linear bounds.
            compose: makes a network up to a node from the bounds so far, or None; later passes end in the first one.
        """
        fronts = self.graph.fronts
        for place in range(len(self.graph.nodes)):
            self.interval(place)
            late = self.pace is not None and self.pace.late
            if compose is not None and not late and self.first is None and (made := compose(self, place)) is not None:
                self.first = place, made
            if place in fronts and (refined or self._is_first(place)):
                self._refine(place)
        self.first = self.pace = None  # the lines of its bends may change

    def _is_first(self, place: int) -> bool:
        """Whether an affine map of the image would be bounded by its box alone, where the ball is smaller."""
        if self.ball.norm.boxed or place == 0:
            return False
        return all(isinstance(n.operation, Input | Affine) for n in self.graph.nodes[: place + 1])

    def interval(self, place: int) -> None:
        """Append the interval of one node, and what rounding may change there; earlier nodes have theirs."""
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
            sizes = [torch.maximum(a.abs(), b.abs()) for a, b in zip(lows, highs, strict=True)]
            size = op.size(sizes)
            if op.bias is not None:
                offset = op.offset_size
                assert offset is not None, "a bias has a size"
                middle, size = middle + op.bias, size + offset
            slack = self.rounding.slack(size, op.terms, op.width + middle[0].numel())
            low, high = middle - radius - slack, middle + radius + slack
            self._saw(op.peak(sizes, size) + slack)
        else:
            low, high = op.interval(*(t for pair in zip(lows, highs, strict=True) for t in pair))
            slack = self._bend_slack(op, torch.maximum(lows[0].abs(), highs[0].abs()), low, high)
            if not isinstance(op, Maximum):
                low, high = low - slack, high + slack
                self._saw(torch.maximum(low.abs(), high.abs()))
        self.low.append(low)
        self.high.append(high)
        self.slack.append(slack)

    def _saw(self, size: Tensor) -> None:
        """Count magnitudes (N, *shape) in the network's own arithmetic."""
        if not math.prod(size.shape[1:]):  # a node without entries
            return
        self.most = torch.as_tensor(self.most, device=size.device).maximum(size.flatten(1).amax(1))

    @property
    def fits(self) -> Tensor:
        """(N,) bool: nowhere in the ball a number of the network exceeds the largest one of its type."""
        most = torch.as_tensor(self.most, dtype=torch.float64, device=self.ball.x.device)
        return (most <= self.rounding.largest).expand(len(self.ball.x))  # not where it is NaN

    def _bend_slack(self, op: Maximum | Curve | Product | Power, size: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Rounding of a line, and of the network's own function where it is not exact."""
        own = torch.maximum(low.abs(), high.abs())
        relative = 4 * gamma(low[0].numel() + 64, DOUBLE)
        if isinstance(op, Maximum):
            taps = op.windows.taps(size).amax(1).view(-1, *op.windows.shape)
            return relative * taps
        model = gamma(16, self.rounding.unit)
        if isinstance(op, Tanh):
            return relative * (size + 1) + model
        if isinstance(op, Curve):
            reach = op.slope * size + own + 1  # steps on the way to the value are no larger
            return (relative + gamma(64, self.rounding.unit)) * reach
        return (relative + model) * own + self.rounding.tiny

    def _refine(self, place: int) -> None:
        """Linear bounds of the units in front of a bend whose sign is open; each sample has its own.

        Only the end towards which a unit is at the centre can decide its sign, so that one comes first. Where it does,
        no line depends on the other end. That end only serves later intervals and what rounding may change there, so it
        is found where it lies far off, and only until it does not.
        """
        if self.is_boxed(place):
            return
        low, high = self.low[place].flatten(1), self.high[place].flatten(1)
        if not self.ball.norm.boxed or not self.opens(place):
            every, one = torch.ones_like(low, dtype=torch.bool), torch.ones_like(low)
            for side in (one, -one):
                low, high = self._one_side(place, low, high, every, side, one * torch.inf)
        else:
            centre, open_ = self._middle(place), (low < 0) & (high > 0)
            side = torch.where(centre < 0, -1.0, 1.0).to(low.dtype)
            low, high = self._one_side(place, low, high, open_, side, torch.zeros_like(low))
            far = FAR * (centre + centre.abs().mean(1, keepdim=True))
            still = (low < 0) & (high > 0)
            open_ = still | open_ & (low >= 0) & (high > far)
            low, high = self._one_side(place, low, high, open_, -side, torch.where(still, torch.inf, -far))
        self.low[place] = torch.minimum(low, high).view_as(self.low[place])
        self.high[place] = torch.maximum(low, high).view_as(self.high[place])

    def _middle(self, place: int) -> Tensor:
        """The units of a node at the centre of the ball (N, D): only the end of that sign can decide theirs."""
        for i in range(len(self.centre), place + 1):
            node = self.graph.nodes[i]
            op, before = node.operation, [self.centre[j] for j in node.inputs]
            if isinstance(op, Input):
                value = self.ball.x
            elif isinstance(op, Affine):
                value = op.linear(before) if op.bias is None else op.linear(before) + op.bias
            else:
                value = op.interval(*(z for z in before for _ in range(2)))[0]
            self.centre.append(value)
        return self.centre[place].flatten(1)

    def _one_side(
        self, place: int, low: Tensor, high: Tensor, open_: Tensor, side: Tensor, limit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Linear bounds of some units (N, D): below where side is 1, above where it is -1; all units' bounds."""
        count = int(open_.sum(1).amax()) if len(low) else 0  # note: a wait for the device
        if not count:
            return low, high
        index = open_.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :count]  # (N, R)
        sign = side.gather(1, index)
        least = sign * self._units(place, index, sign, limit.gather(1, index))
        l, h = low.gather(1, index), high.gather(1, index)  # noqa: E741
        l, h = torch.where(sign > 0, torch.maximum(l, least), l), torch.where(sign < 0, torch.minimum(h, least), h)  # noqa: E741
        return low.scatter(1, index, l), high.scatter(1, index, h)

    def _units(self, place: int, index: Tensor, sign: Tensor, limit: Tensor) -> Tensor:
        """Linear lower bounds of single units, each times its sign (N, R); any bound will do that exceeds its limit."""
        shape, like = self.graph.nodes[place].shape, self.low[place]
        step, found, pace = self.step(place), [], self.pace
        cost = 0.0 if pace is None else len(index) * work(self.graph, place, windows=self.windows)
        for some, signs, limits in zip(*(torch.split(t, step, 1) for t in (index, sign, limit)), strict=True):
            if pace is not None and pace.late:
                found.append(torch.full_like(limits, -torch.inf))
                continue
            early = Early(limits) if bool((limits < torch.inf).any()) else None  # note: a wait for the device
            rows = units(some, shape, signs, like, windows=self.windows)
            row, constant = self.line(place, rows, early=early, first=self.first)
            bound = constant + self.ball.least(row)
            found.append(bound if early is None else early.ended(bound))
            if pace is not None:
                pace.passed(cost * some.shape[1])
        return torch.cat(found, 1)

    def step(self, place: int) -> int:
        """How many rows of single units pass through the layers before a node at once."""
        return max(1, ENTRIES // (max(1, len(self.ball.x)) * widest(self.graph, place, windows=self.windows)))

    def is_boxed(self, place: int) -> bool:
        """Whether the interval of this node is its range: an affine map of the box that sums but once."""
        if not self.ball.norm.boxed:
            return False
        ops = [n.operation for n in self.graph.nodes[1 : place + 1]]
        chain = all(n.inputs == (i,) for i, n in enumerate(self.graph.nodes[1 : place + 1]))
        return (
            chain
            and all(isinstance(o, Affine) and not isinstance(o, Move) for o in ops)
            and (sum(isinstance(o, Conv | Dense) for o in ops) <= 1)
        )

    def opens(self, place: int) -> bool:
        """Whether only units of open sign matter at this node: pooling compares units, tanh bends everywhere.

        Args:
            place: the node.
        """
        ops = [n.operation for n in self.graph.nodes if place in n.inputs]
        return all(isinstance(o, Maximum) and o.is_rectifier for o in ops)

    def lower(self, place: int, A: Tensor) -> Tensor:
        """A lower bound of <A, node> over the ball, for coefficients A (N, R, *shape): (N, R)."""
        step = max(1, ENTRIES // (len(A) * widest(self.graph, place)))
        return torch.cat([self._lower(place, Rows(a=part)) for part in torch.split(A, step, 1)], 1)

    def _lower(self, place: int, rows: Rows) -> Tensor:
        row, constant = self.line(place, rows)
        return constant + self.ball.least(row)

    def line(
        self,
        place: int,
        rows: Rows,
        seen: dict[int, Rows] | None = None,
        more: dict[int, Rows] | None = None,
        early: Early | None = None,
        lost: list[Tensor] | None = None,
        first: tuple[int, "Bounds"] | None = None,
    ) -> tuple[Rows, Tensor]:
        """A linear lower bound of <A, node> over the ball: coefficients of the image, and a constant (N, R).

        Args:
            place: the node.
            rows: the coefficients A.
            seen: dictionary that is filled with the rows of every nonlinear node's output, by its place.
            more: coefficients of earlier nodes, by their places; these functions are added.
            early: the rows that it takes out are not in the result.
            lost: list that gets what rounding may change (N, R), which is then not in the constant.
            first: a layer and the network up to it, which the pass goes through instead.
        """
        held: dict[int, Rows] = {place: rows, **(more or {})}
        total = rows.a.new_zeros(rows.a.shape[:2])
        bends = 0  # since rows were last taken out
        for i in range(place, -1, -1):
            if i not in held:
                continue
            row, node = held.pop(i), self.graph.nodes[i]
            at_first = first is not None and i == first[0]
            asked = at_first or (bends > 1 and isinstance(node.operation, Conv | Dense))
            if early is not None and not held and asked:
                bends = 0
                row, total = early.left(row, total, (self.low[i], self.high[i]))
            if first is not None and at_first:
                image, constant = first[1].line(len(first[1].graph.nodes) - 1, row)
                return image, total + constant
            if self.slack and lost is not None:
                lost.append(row.size(self.slack[i]))
            elif self.slack:
                total = total - row.size(self.slack[i])
            if isinstance(node.operation, Input):
                held[i] = row
            elif isinstance(node.operation, Affine):
                if node.operation.bias is not None:
                    total = total + row.constant(node.operation.bias, node.shape)
                for j, back in zip(node.inputs, self._before(i, node.operation, row), strict=True):
                    held[j] = held[j].plus(back, self.graph.nodes[j].shape) if j in held else back
            elif isinstance(node.operation, Maximum | Curve):
                j, bends = node.inputs[0], bends + 1
                if seen is not None:
                    seen[i] = row
                back, constant = self._bend(i, row)
                total = total + constant
                if i in self.pulls:
                    back = back.plus(Rows(a=self.pulls[i][:, None]), self.graph.nodes[j].shape)
                held[j] = held[j].plus(back, self.graph.nodes[j].shape) if j in held else back
            else:
                raise InputError(f"no linear bound passes through {node.operation.name}: use method='ibp'")
        return held[0], total

    def _before(self, i: int, op: Affine, row: Rows) -> list[Rows]:
        """Rows behind an affine node -> those of each of its inputs."""
        node = self.graph.nodes[i]
        shapes = [self.graph.nodes[j].shape for j in node.inputs]
        if isinstance(op, Conv) and row.fits(op, shapes[0]):
            return [row.before(op, shapes[0])]
        if isinstance(op, Combination) and row.top is not None:
            return [row.like(f * row.a) for f in op.factors]
        if isinstance(op, Scale) and row.top is not None:
            factor = row.cut(op.factor.expand(len(row.a), *node.shape), node.shape)
            return [row.like(row.a * factor)]
        a = row.whole(node.shape).a
        back = op.transpose(a.flatten(0, 1), shapes)
        return [Rows(a=b.reshape(*a.shape[:2], *shape)) for b, shape in zip(back, shapes, strict=True)]

    def lines_of(self, i: int) -> Lines:
        """The lines of a bend, from the bounds in front of it unless others were chosen."""
        node = self.graph.nodes[i]
        if i not in self.lines:
            assert isinstance(node.operation, Maximum | Curve)
            j = node.inputs[0]
            self.lines[i] = node.operation.lines(self.low[j], self.high[j])
        return self.lines[i]

    def _bend(self, i: int, row: Rows) -> tuple[Rows, Tensor]:
        """Rows behind a bend -> those in front of it, and a constant (N, R)."""
        node = self.graph.nodes[i]
        op, j = node.operation, node.inputs[0]
        assert isinstance(op, Maximum | Curve)
        lines = self.lines_of(i)
        if op.windows.index is not None:
            row = row.whole(node.shape)
        down = row.a.clamp(max=0)
        constant = row.like(down).times(lines.high_offset, node.shape)
        if isinstance(op, Curve):
            constant = constant + row.like(row.a - down).times(lines.low_offset, node.shape)
        low, high = row.cut(lines.low_slope, node.shape), row.cut(lines.high_slope, node.shape)
        if op.windows.index is None:
            return row.like(torch.addcmul(row.a * low, down, high - low)), constant
        up, down = (row.a - down) * low, down * high
        shape = self.graph.nodes[j].shape
        back = up.new_zeros(*up.shape[:2], math.prod(shape) + 1)
        for part, tap in ((up, lines.low_tap), (down, lines.high_tap)):
            position = op.windows.position(tap)
            assert position is not None
            back = back.scatter_add(2, position[:, None].expand(*part.shape[:2], -1), part.flatten(2))
        return Rows(a=back[..., :-1].reshape(*up.shape[:2], *shape)), constant
