"""alpha-CROWN: the lower slopes of undecided rectifiers, optimised for each bound by gradient ascent.

Xu, Zhang, Wang, Wang, Jana, Lin, Hsieh 2021, "Fast and complete", arXiv 2011.13824, section 3.1. Every slope in [0, 1]
gives a sound bound, so the best bound of all steps counts. The assumption on a unit in a branch of a search enters by
a multiplier beta >= 0 of its constraint: Wang, Zhang, Xu, Lin, Jana, Hsieh, Kolter 2021, "Beta-CROWN", arXiv
2103.06624, section 3.2. Every beta >= 0 is sound, too.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.certification.bounds import Bounds
from advkit.certification.curves import Curve
from advkit.certification.relu_and_pooling import Lines, Maximum
from advkit.certification.unit_rows import Rows
from advkit.core.norms import per_row

ByBend = Mapping[int, Tensor]
"""One tensor for each bend of the network, by its place among the nodes."""

STEPS = 12
STEP_SIZE = 0.25
DECAY = 0.9


class Unit(NamedTuple):
    """One function of a node inside, for each row.

    Attributes:
        place: the node.
        rows: coefficients (M, *shape).
    """

    place: int
    rows: Tensor


class Raised(NamedTuple):
    """The best bound of each function, and its slopes and multipliers.

    Attributes:
        bound: (M,).
        slope: coefficients of the image in the lower line (M, ...).
        alpha: lower slopes of the nonlinear nodes (M, outputs).
        beta: multipliers of the constraints (M, taps, outputs).
        gamma: multipliers of the functions (M, 1) where units are bounded, and 1 otherwise.
    """

    bound: Tensor
    slope: Tensor
    alpha: dict[int, Tensor]
    beta: dict[int, Tensor]
    gamma: Tensor

    def take(self, rows: Tensor) -> "Raised":
        """Return the bounds of some functions."""
        alpha, beta = ({i: t[rows] for i, t in part.items()} for part in (self.alpha, self.beta))
        return Raised(self.bound[rows], self.slope[rows], alpha, beta, self.gamma[rows])

    def or_better(self, other: "Raised") -> "Raised":
        """Choose row by row the larger bound."""
        wins = other.bound > self.bound
        if bool(wins.all()):  # note: a wait for the device, far cheaper than a choice by rows
            return other

        def chosen(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(per_row(wins, a), b, a)

        alpha, beta = (
            {i: chosen(t, new[i]) for i, t in old.items()}
            for old, new in ((self.alpha, other.alpha), (self.beta, other.beta))
        )
        gamma = chosen(self.gamma, other.gamma)
        return Raised(chosen(self.bound, other.bound), chosen(self.slope, other.slope), alpha, beta, gamma)


def raised(
    made: Bounds,
    C: Tensor,
    *,
    light: Bounds | None = None,
    place: int | None = None,
    splits: ByBend | None = None,
    alpha: ByBend | None = None,
    beta: ByBend | None = None,
    unit: Unit | None = None,
    steps: int = STEPS,
    step_size: float = STEP_SIZE,
) -> Raised:
    """Return lower bounds of <C, logits> over the ball, by ascent in alpha and beta.

    With `unit`, return lower bounds of that function over the points of the ball where <C, logits> is at most 0: for
    every gamma >= 0 it is at least its sum with gamma <C, logits> there (Kotha, Brix, Kolter, Dvijotham, Zhang 2023,
    "Provably bounding neural network preimages", arXiv 2302.01404).

    Args:
        made: bounds of every node, one row a function.
        C: coefficients of the logits (M, K), or of the node at `place` (M, ...).
        light: result of `made.light()`; None to compute it.
        place: the node that is bounded; None for the logits.
        splits: assumptions on the entries of every maximum, see `Maximum.lines`; None for no assumptions.
        alpha: initial slopes; None for those of CROWN.
        beta: initial multipliers; None for 0.
        unit: function of a node inside that is bounded instead.
        steps: number of steps of Adam; 0 returns the initial bound.
        step_size: length of the first step.
    """
    light = made.light() if light is None else light
    gamma = None
    if steps and light is not made:
        begin = Relaxation(light, splits or {}, alpha or {}, beta or {}, place, unit)
        found = _climbed(begin, C.to(light.ball.x.dtype), steps, step_size)
        alpha, beta = ({**(old or {}), **new} for old, new in ((alpha, found.alpha), (beta, found.beta)))
        steps, gamma = 0, found.gamma
    return _climbed(Relaxation(made, splits or {}, alpha or {}, beta or {}, place, unit, gamma), C, steps, step_size)


def _climbed(relaxed: "Relaxation", C: Tensor, steps: int, step_size: float) -> Raised:
    """The best of all steps, in the type of these bounds."""
    steps = steps if relaxed.leaves else 0
    adam = torch.optim.Adam(relaxed.leaves or [torch.zeros(())], lr=step_size)
    schedule = torch.optim.lr_scheduler.ExponentialLR(adam, DECAY)
    with torch.set_grad_enabled(steps > 0):
        value, slope = relaxed.line(C)
    best = relaxed.found(value, slope)
    for step in range(1, steps + 1):
        if not value.requires_grad:  # all open bends lie on other paths
            break
        relaxed.climb(value, adam)
        schedule.step()
        with torch.set_grad_enabled(step < steps):
            value, slope = relaxed.line(C)
        best = best.or_better(relaxed.found(value, slope))
    return best


class Relaxation:
    """The lines of every nonlinear node as functions of alpha and beta."""

    def __init__(
        self,
        made: Bounds,
        splits: ByBend,
        alpha: ByBend,
        beta: ByBend,
        place: int | None = None,
        unit: Unit | None = None,
        gamma: Tensor | None = None,
    ) -> None:
        self.made, self.splits = made, {i: s for i, s in splits.items() if bool((s != 0).any())}
        self.place = len(made.graph.nodes) - 1 if place is None else place
        self.lines: dict[int, Lines] = {}
        for i in (bend for bend in made.graph.bends if bend < self.place):
            op, j = made.graph.nodes[i].operation, made.graph.nodes[i].inputs[0]
            assert isinstance(op, Maximum | Curve)
            box = made.low[j], made.high[j]
            self.lines[i] = op.lines(*box, splits.get(i)) if isinstance(op, Maximum) else op.lines(*box)
        free = [i for i, lines in self.lines.items() if bool(lines.free.any())]  # note: a wait for the device
        self.free = {i: self.lines[i].free.to(made.ball.x.dtype) for i in free}
        self.fixed = {i: self.lines[i].low_slope * (1 - mask) for i, mask in self.free.items()}
        self.alpha = {i: alpha.get(i, self.lines[i].low_slope).to(made.ball.x.dtype).clone() for i in free}
        self.seen: dict[int, Rows] = {}  # the coefficients of every bend's output
        self.beta = {i: beta.get(i, torch.zeros_like(s)).to(made.ball.x.dtype).clone() for i, s in self.splits.items()}
        one = made.ball.x.new_ones(len(made.ball.x), 1)
        self.unit, self.gamma = unit, one if unit is None else one * 0 if gamma is None else gamma.to(one.dtype).clone()

    @property
    def leaves(self) -> list[Tensor]:
        return [*self.alpha.values(), *self.beta.values(), *([] if self.unit is None else [self.gamma])]

    def line(self, C: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bound (M,) and the coefficients of the image (M, ...) at the current alpha and beta."""
        for leaf in self.leaves:
            leaf.requires_grad_(torch.is_grad_enabled())
        lines = dict(self.lines)
        for i, alpha in self.alpha.items():
            lines[i] = lines[i]._replace(low_slope=alpha * self.free[i] + self.fixed[i])
        pulls = {i: self._pull(i, beta) for i, beta in self.beta.items()}
        made = replace(self.made, lines=lines, pulls=pulls)
        more = {}
        if self.unit is not None:
            C = C * self.gamma
            more = {self.unit.place: Rows(a=self.unit.rows.to(C.dtype)[:, None])}
        row, constant = made.line(self.place, Rows(a=C[:, None]), self.seen, more)
        return (constant + made.ball.least(row)).squeeze(1), row.a.squeeze(1)

    def _pull(self, i: int, beta: Tensor) -> Tensor:
        """What the constraints add to the coefficients in front of a maximum, (M, *in)."""
        node = self.made.graph.nodes[i]
        assert isinstance(node.operation, Maximum)
        terms = node.operation.constrained(self.splits[i], beta)
        return node.operation.windows.sums(terms, self.made.graph.nodes[node.inputs[0]].shape)

    def climb(self, value: Tensor, adam: torch.optim.Adam) -> None:
        """Make a step of ascent, and clamp alpha, beta and gamma to sound values."""
        adam.zero_grad()
        torch.autograd.backward(value, -torch.ones_like(value), inputs=self.leaves)
        adam.step()
        with torch.no_grad():
            for alpha in self.alpha.values():
                alpha.clamp_(0, 1)
            for beta in self.beta.values():
                beta.clamp_(min=0)
            self.gamma.clamp_(min=0)

    def found(self, value: Tensor, slope: Tensor) -> Raised:
        alpha, beta = ({i: t.detach().clone() for i, t in part.items()} for part in (self.alpha, self.beta))
        return Raised(value.detach(), slope.detach(), alpha, beta, self.gamma.detach().clone())
