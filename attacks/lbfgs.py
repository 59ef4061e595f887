"""L-BFGS, the first attack: Szegedy et al. 2013, Intriguing properties of neural networks, 4.1 (arXiv 1312.6199)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks import _curvature
from advkit.core.attack import MinimalAttack, check_count, check_positive, register_attack
from advkit.core.oracle import Oracle, choose

ARMIJO = 1e-4
"""The share of the predicted decrease that a step must bring."""

TRIALS = 8
"""The most points that a line search rejects."""

LEAP = 0.2
"""How far the k-th leap goes: k times this share of the range of a pixel."""


class Iterate(NamedTuple):
    """A point and what is known there."""

    point: Tensor  # (M, D), in units of the range of a pixel, as all that follows
    loss: Tensor  # (M,): of the network, to be minimised
    gradient: Tensor  # (M, D): of that loss
    fooled: Tensor  # (M,) bool


class Box(NamedTuple):
    """The problem in units of the range of a pixel."""

    x: Tensor  # (M, D)
    low: Tensor  # (M, D)
    high: Tensor  # (M, D)
    span: Tensor  # (M, 1): that range


class Search(NamedTuple):
    """The search for c; a minimisation for each c; a line search for each step of it."""

    c: Tensor  # (M,)
    hit: Tensor  # (M,): the largest c of this round whose minimiser reached the goal, 0 if none
    miss: Tensor  # (M,): the smallest c of this round whose minimiser did not, inf if none
    number: Tensor  # (M,) int64: minimisations finished
    leaps: Tensor  # (M,) int64: fresh starts made
    steps: Tensor  # (M,) int64: steps accepted in this minimisation, -1 before its start has been classified
    trials: Tensor  # (M,) int64: points rejected since the last accepted one
    length: Tensor  # (M,): of the trial step, in units of the direction


class State(NamedTuple):
    """Every row is in the middle of its own search: one step of the driver is one trial point of each."""

    x_adv: Tensor  # (M, ...): the trial point
    box: Box
    now: Iterate  # the last accepted point
    reached: Iterate  # the minimiser for `hit`
    downhill: Tensor  # (M, D): the sign of minus the gradient at x
    direction: Tensor  # (M, D)
    history: _curvature.History
    search: Search
    done: Tensor  # (M,) bool


@register_attack("lbfgs")
@dataclass(frozen=True, kw_only=True)
class LBFGS(MinimalAttack):
    """Minimise `c |r|^2 + J(x + r, target)` within the range of the pixels, for the largest c that reaches the target.

    The box-constrained minimisation is L-BFGS with the active pixels held at their bound and an Armijo search along the
    projected path. All samples run at once, each with its own c, history and step length, and leave when their search
    is over. The nearest adversarial point among all that were tried is returned.

    The search for c brackets the largest one that reaches the target and then bisects, each time from the last
    minimiser that reached it. As J is not convex, it is repeated from other starts (`leaps`): from the clean image a
    leap against the sign of the gradient, farther each time. A minimisation that misses before any has reached the
    target leaps too.

    Cost per sample: 250 to 400 queries and gradients at the default settings.

    Args:
        target: "runner_up" (the likeliest rival on the clean image; the paper leaves the class open), "random", "all",
            a class, or "untargeted": the likeliest rival at every point.
        searches: the number of minimisations before the first leap.
        leaps: the number of repetitions of the search from another start; 0 is the paper's attack.
        leap_searches: the number of minimisations of each.
        first_steps: the most steps of a minimisation that begins far from its solution.
        later_steps: of one that begins at the solution for another c.
        c: the first weight of the distance, pixels in units of their range; |g|^2 / (20 J) unless given, with J and its
            gradient g on the clean image, about a quarter of what a linear model of J leads one to expect of the
            largest c.
        squared: False takes |r| as the paper writes it, in place of its square.
        memory: the number of steps that the inverse Hessian remembers.
        loss: minus J, "rival"; "margin" minimises the difference of the logits in its place.
        tolerance: a minimisation ends when a step lowers the objective by less than this share.

    A sample for which nothing has fooled the model gets up to three times as many minimisations.
    """

    norms = ("l2",)
    paper = "Szegedy et al. 2013, arXiv 1312.6199"

    norm: str = "l2"
    target: str | int = "runner_up"
    loss: str = "rival"
    searches: int = 7
    leaps: int = 3
    leap_searches: int = 4
    first_steps: int = 30
    later_steps: int = 15
    c: float | None = None
    squared: bool = True
    memory: int = 5
    tolerance: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("searches", "leap_searches", "first_steps", "later_steps", "memory"):
            check_count(name, getattr(self, name))
        check_count("leaps", self.leaps, least=0)
        check_positive("tolerance", self.tolerance)
        if self.c is not None:
            check_positive("c", self.c)

    @property
    def _most(self) -> int:
        """The number of minimisations of a row that has been fooled."""
        return self.searches + self.leaps * self.leap_searches

    @property
    def total_steps(self) -> int:
        """A bound that rows do not reach: every minimisation accepts some of its trials."""
        return 3 * self._most * (self.first_steps + TRIALS)

    def init(self, oracle: Oracle) -> State:
        """The clean image is the first trial point, and every row accepts it."""
        box = self._unit_box(oracle)
        x = box.x
        zero, none = x.new_zeros(len(x)), torch.zeros(len(x), dtype=torch.int64, device=x.device)
        start = Iterate(x, zero, torch.zeros_like(x), none.bool())
        search = Search(zero + (self.c or 0), zero, zero + torch.inf, none, none, none - 1, none, zero + 1)
        history = _curvature.empty(x, self.memory, 2 if self.squared else 3)
        return State(oracle.x, box, start, start, start.gradient, start.gradient, history, search, none.bool())

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Classify the trial points, let each row accept or shorten its step, and set out for the next."""
        x, span = state.box.x, state.box.span
        loss, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        point = state.x_adv.flatten(1).to(x.dtype) / span
        new = Iterate(point, -loss.to(x.dtype), -gradient.flatten(1).to(x.dtype) * span, oracle.fooled)
        state, accepted, flat = self._accept(x, state, new)
        if i == 0:
            state = self._first_c(state)
        search = state.search
        most = torch.where(search.hit == 0, self.first_steps, self.later_steps)
        over = (accepted & (flat | (search.steps >= most))) | (search.trials > TRIALS)
        state, leap = self._next_search(state, over, oracle.best.fooled)
        state, trial = self._set_out(state, accepted | over, leap)
        return state._replace(x_adv=(trial * span).view(oracle.x.shape).to(oracle.x.dtype))

    @staticmethod
    def _unit_box(oracle: Oracle) -> Box:
        region, dtype = oracle.region, torch.promote_types(oracle.x.dtype, torch.float32)
        x, low, high = (t.flatten(1).to(dtype) for t in (region.x, region.low, region.high))
        span = (high - low)[:, :1]
        span = torch.where(span.isfinite(), span, 1)
        return Box(x / span, low / span, high / span, span)

    def _first_c(self, state: State) -> State:
        """From the linear model: J falls along g and is spent at a distance r = J / |g|, where c = |g| / (2 r)."""
        loss, gradient = state.now.loss, state.now.gradient
        c = (gradient**2).sum(1) / (20 * loss.abs().clamp(min=1e-6))
        c = c.clamp(1e-10, 1e10) if self.c is None else state.search.c
        return state._replace(search=state.search._replace(c=c), downhill=-gradient.sign())

    def _accept(self, x: Tensor, state: State, new: Iterate) -> tuple[State, Tensor, Tensor]:
        """Armijo's rule: (state, rows that accept, rows that hardly gain)."""
        now, search = state.now, state.search
        far, pull = self._distance(now.point - x, now.gradient)
        far_new, pull_new = self._distance(new.point - x, new.gradient)
        step = new.point - now.point
        before, after = now.loss + search.c * far, new.loss + search.c * far_new
        predicted = ((now.gradient + search.c[:, None] * pull) * step).sum(1)
        begins = search.steps < 0
        accepted = (after <= before + ARMIJO * predicted) | begins
        parabola = -predicted / (2 * (after - before - predicted))
        search = search._replace(
            steps=search.steps + accepted,
            trials=torch.where(accepted, 0, search.trials + 1),
            length=torch.where(accepted, 1, search.length * parabola.nan_to_num(0.1).clamp(0.1, 0.5)),
        )
        moved = accepted & ~begins
        changes = (new.gradient - now.gradient,) if self.squared else (new.gradient - now.gradient, pull_new - pull)
        history = _curvature.push(state.history, moved, step, *changes)
        flat = moved & (before - after <= self.tolerance * before.abs())
        return state._replace(now=choose(accepted, new, now), history=history, search=search), accepted, flat

    def _distance(self, r: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The distance term and its gradient; |r| has none at 0, where the limit along minus `gradient` stands in."""
        size = torch.linalg.vector_norm(r, dim=1)
        if self.squared:
            return size**2, 2 * r
        ahead = torch.where((size > 0)[:, None], r, -gradient)
        return size, torch.nn.functional.normalize(ahead, dim=1)

    def _next_search(self, state: State, over: Tensor, fooled: Tensor) -> tuple[State, Tensor]:
        """Where a minimisation is over: note its verdict on c and choose the next; (state, rows that are to leap)."""
        search, now = state.search, state.now
        hit, miss = over & now.fooled, over & ~now.fooled
        number = search.number + over
        high, low = torch.where(hit, search.c, search.hit), torch.where(miss, search.c, search.miss)
        factor = torch.where(number <= self.searches, 4.0, 2.0)
        c = torch.where(high > 0, search.c * factor, search.c / 4)
        c = torch.where((high > 0) & low.isfinite(), (high * low).sqrt(), c)
        turn = over & (number >= self.searches) & ((number - self.searches) % self.leap_searches == 0)
        c = torch.where(turn & (high > 0), high, c)
        leap = turn | (miss & (high == 0))
        reached = choose(hit, now, state.reached)
        search = Search(
            c=torch.where(over, c, search.c),
            hit=torch.where(turn, 0, high),
            miss=torch.where(turn, torch.inf, low),
            number=number,
            leaps=search.leaps + leap,
            steps=torch.where(over, -leap.long(), search.steps),
            trials=torch.where(over, 0, search.trials),
            length=torch.where(over, 1, search.length),
        )
        history = state.history._replace(stored=torch.where(miss | leap, 0, state.history.stored))
        done = (number >= self._most) & (fooled | (number >= 3 * self._most))
        now = choose(miss, reached, now)
        return state._replace(now=now, reached=reached, history=history, search=search, done=done), leap

    def _set_out(self, state: State, fresh: Tensor, leap: Tensor) -> tuple[State, Tensor]:
        """The next trial point (M, D): along a new direction where a step was accepted, else nearer along the old."""
        now, search, (x, low, high, _) = state.now, state.search, state.box
        gradient = now.gradient + search.c[:, None] * self._distance(now.point - x, now.gradient)[1]
        held = ((now.point <= low) & (gradient > 0)) | ((now.point >= high) & (gradient < 0))
        free = (~held).to(x.dtype)
        direction = _curvature.direction(state.history, search.c, gradient, free)
        uphill = (direction * gradient).sum(1, keepdim=True) >= 0
        direction = torch.where(uphill, -gradient * free, direction)
        direction = torch.where(fresh[:, None], direction, state.direction)
        trial = now.point + search.length[:, None] * direction
        away = x + (LEAP * search.leaps[:, None]).clamp(max=1) * state.downhill
        trial = torch.where(leap[:, None], away, trial)
        return state._replace(direction=direction), torch.clamp(trial, low, high)
