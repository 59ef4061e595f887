"""L-BFGS, the first attack: Szegedy et al. 2013, Intriguing properties of neural networks, section 4.1 (arXiv 1312.6199)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks import _curvature
from advkit.core.attack import MinimalAttack, check_count, check_positive, register_attack
from advkit.core.oracle import Oracle, choose

ARMIJO = 1e-4
"""The share of the predicted decrease that a step must bring."""


class Iterate(NamedTuple):
    """A point and what is known there."""

    point: Tensor  # (M, D)
    loss: Tensor  # (M,): of the network, to be minimised
    gradient: Tensor  # (M, D): of that loss
    fooled: Tensor  # (M,) bool


class Search(NamedTuple):
    """The search for c, a minimisation for each c, and a line search for each step of it."""

    c: Tensor  # (M,)
    hit: Tensor  # (M,): the largest c whose minimiser reached the goal, 0 if none
    miss: Tensor  # (M,): the smallest c whose minimiser did not, inf if none
    number: Tensor  # (M,) int64: minimisations finished
    steps: Tensor  # (M,) int64: steps accepted in this one
    trials: Tensor  # (M,) int64: points rejected since
    length: Tensor  # (M,): of the trial step, in units of the direction


class State(NamedTuple):
    """Every row is in the middle of its own search: one step of the driver is one trial point of each."""

    x_adv: Tensor  # (M, ...): the trial point
    now: Iterate  # the last accepted point
    reached: Iterate  # the minimiser for the largest c that reached the goal, x before there is one
    direction: Tensor  # (M, D)
    history: _curvature.History
    search: Search
    done: Tensor  # (M,) bool


@register_attack("lbfgs")
@dataclass(frozen=True, kw_only=True)
class LBFGS(MinimalAttack):
    """Minimise `c |r|^2 + J(x + r, target)` within the range of the pixels, for the largest c that reaches the target.

    The box-constrained minimisation is L-BFGS with the active pixels held at their bound and an Armijo search along the
    projected path. All samples run at once, each with its own c, history and step length; a sample leaves when its
    search is over. The nearest adversarial point among all that were tried is returned. The search for c starts at
    `c`, goes on by a factor of 4 until one c reaches the target and one does not, and then by bisection, each time from
    the last minimiser that reached it.

    Cost per sample: 100 to 150 queries and gradients at the default settings.

    Args:
        target: "runner_up" (the paper's target is any class; the nearest rival is the natural one), "random", "all",
            a class, or "untargeted": minimise `c |r|^2 - J(x + r, y)`.
        searches: the number of minimisations; a sample for which no c has reached the target gets up to three times as
            many.
        first_steps: the most steps of the first minimisation.
        later_steps: of each one after it.
        c: the first weight of the distance.
        squared: False takes |r| as the paper writes it, in place of its square.
        memory: the number of steps that the inverse Hessian remembers.
        tolerance: a minimisation ends when a step lowers the objective by less than this share.
    """

    norms = ("l2",)
    paper = "Szegedy et al. 2013, arXiv 1312.6199"

    norm: str = "l2"
    target: str | int = "runner_up"
    searches: int = 8
    first_steps: int = 30
    later_steps: int = 10
    c: float = 0.1
    squared: bool = True
    memory: int = 5
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("searches", "first_steps", "later_steps", "memory"):
            check_count(name, getattr(self, name))
        for name in ("c", "tolerance"):
            check_positive(name, getattr(self, name))

    @property
    def total_steps(self) -> int:
        """Every row is done long before: at most 10 trials a step."""
        return 3 * self.searches * (self.first_steps + self.later_steps)

    def init(self, oracle: Oracle) -> State:
        """The clean image is the first trial point, and every row accepts it."""
        x = oracle.x.flatten(1).to(torch.promote_types(oracle.x.dtype, torch.float32))  # (M, D)
        zero, none = x.new_zeros(len(x)), torch.zeros(len(x), dtype=torch.int64, device=x.device)
        start = Iterate(x, zero + torch.inf, torch.zeros_like(x), none.bool())
        search = Search(zero + self.c, zero, zero + torch.inf, none, none - 1, none, zero + 1)
        history = _curvature.empty(x, self.memory)
        return State(oracle.x, start, start, torch.zeros_like(x), history, search, none.bool())

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Classify the trial points, let each row accept or shorten its step, and set out for the next."""
        x = oracle.x.flatten(1).to(state.now.point.dtype)
        loss, gradient = oracle.loss_and_gradient(state.x_adv)
        new = Iterate(
            state.x_adv.flatten(1).to(x.dtype), -loss.to(x.dtype), -gradient.flatten(1).to(x.dtype), oracle.fooled
        )
        state, accepted, flat = self._accept(x, state, new)
        search = state.search
        most = torch.where(search.number == 0, self.first_steps, self.later_steps)
        over = (accepted & (flat | (search.steps >= most))) | (search.trials > 8)
        state = self._next_search(state, over)
        return self._set_out(oracle, x, state, fresh=accepted | over)

    def _accept(self, x: Tensor, state: State, new: Iterate) -> tuple[State, Tensor, Tensor]:
        """Armijo's rule: (state, rows that accept, rows that hardly gain)."""
        now, search = state.now, state.search
        b_now, db_now = self._distance(now.point - x, now.gradient)
        b_new, db_new = self._distance(new.point - x, new.gradient)
        step = new.point - now.point
        before, after = now.loss + search.c * b_now, new.loss + search.c * b_new
        predicted = ((now.gradient + search.c[:, None] * db_now) * step).sum(1)
        accepted = (after <= before + ARMIJO * predicted) | (search.steps < 0)
        shorter = (-predicted / (2 * (after - before - predicted))).nan_to_num(0.1).clamp(0.1, 0.5)
        search = search._replace(
            steps=search.steps + accepted,
            trials=torch.where(accepted, 0, search.trials + 1),
            length=torch.where(accepted, 1, search.length * shorter),
        )
        pair = accepted & (search.steps > 0)
        history = _curvature.push(state.history, pair, step, new.gradient - now.gradient, db_new - db_now)
        flat = pair & (before - after <= self.tolerance * before.abs())
        return state._replace(now=choose(accepted, new, now), history=history, search=search), accepted, flat

    def _distance(self, r: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The distance term and its gradient; |r| has none at 0, where the limit along minus `gradient` stands in."""
        size = torch.linalg.vector_norm(r, dim=1)
        if self.squared:
            return size**2, 2 * r
        ahead = torch.where((size > 0)[:, None], r, -gradient)
        return size, torch.nn.functional.normalize(ahead, dim=1)

    def _next_search(self, state: State, over: Tensor) -> State:
        """Where a minimisation is over: note its verdict on c, choose the next c, go back to the last that reached."""
        search, now = state.search, state.now
        hit, miss = over & now.fooled, over & ~now.fooled
        reached = choose(hit, now, state.reached)
        high = torch.where(hit, search.c, search.hit)
        low = torch.where(miss, search.c, search.miss)
        wider = torch.where(high > 0, search.c * 4, search.c / 4)
        c = torch.where((high > 0) & low.isfinite(), (high * low).sqrt(), wider)
        number = search.number + over
        done = (number >= self.searches) & ((high > 0) | (number >= 3 * self.searches))
        search = search._replace(
            c=torch.where(over, c, search.c),
            hit=high,
            miss=low,
            number=number,
            steps=torch.where(over, 0, search.steps),
            trials=torch.where(over, 0, search.trials),
            length=torch.where(over, 1, search.length),
        )
        back = miss & (high > 0)
        history = state.history._replace(count=torch.where(miss, 0, state.history.count))
        return state._replace(
            now=choose(back, reached, now), reached=reached, history=history, search=search, done=done
        )

    def _set_out(self, oracle: Oracle, x: Tensor, state: State, fresh: Tensor) -> State:
        """The next trial point: along a new direction where a step was accepted, else nearer along the old one."""
        now, search, region = state.now, state.search, oracle.region
        low, high = region.low.flatten(1), region.high.flatten(1)
        gradient = now.gradient + search.c[:, None] * self._distance(now.point - x, now.gradient)[1]
        held = ((now.point <= low) & (gradient > 0)) | ((now.point >= high) & (gradient < 0))
        free = (~held).to(x.dtype)
        direction = _curvature.direction(state.history, search.c, gradient, free)
        uphill = (direction * gradient).sum(1, keepdim=True) >= 0
        direction = torch.where(uphill, -gradient * free, direction)
        direction = torch.where(fresh[:, None], direction, state.direction)
        trial = torch.clamp(now.point + search.length[:, None] * direction, low, high)
        return state._replace(x_adv=trial.view(oracle.x.shape).to(oracle.x.dtype), direction=direction)
