"""The attacks of Carlini and Wagner 2016, sections VI-A (l2) and VI-C (linf) (arXiv 1608.04644)."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts import adam
from advkit.attacks.parts.searches import Search, SearchAttack, linear_weight
from advkit.core.attack import register_attack
from advkit.core.best_points import choose
from advkit.core.door import check_between, check_positive
from advkit.core.goals import wide
from advkit.core.named_goals import confident
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle
from advkit.core.wishes import Wish


class State(NamedTuple):
    """A point on its way to the minimiser for one c, or one tau."""

    x_adv: Tensor  # (M, ...)
    adam: adam.Adam
    lr: Tensor  # (M,) float64: Adam's step length
    tau: Tensor  # (M,) float64: what a pixel may move for nothing (linf)
    search: Search
    done: Tensor  # (M,) bool


class _Squared:
    """l2: |delta|^2, bisection for c."""

    def distance(self, delta: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) the distance term and its gradient (M, ...), delta in units of the range."""
        return (delta**2).flatten(1).sum(1), 2 * delta

    def next(self, search: Search, tau: Tensor, nearest: Tensor) -> tuple[Search, Tensor]:
        """Return the search that follows and its tau (M,); `nearest` (M,) is the least distance so far."""
        return search.bisected(), tau


class _Excess:
    """linf: the sum of what exceeds tau; after a hit tau shrinks to a share of the least distance, else c grows."""

    def distance(self, delta: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        """As above; a pixel that moves no further than tau adds nothing."""
        over = (delta.abs() - per_row(tau, delta)).clamp(min=0)
        return over.flatten(1).sum(1), delta.sign() * (over > 0)

    def next(self, search: Search, tau: Tensor, nearest: Tensor) -> tuple[Search, Tensor]:
        """As above, at a smaller tau or at four times the c."""
        shrunk = torch.where(search.hit, 0.9 * nearest.minimum(tau), tau)
        return search.following(torch.where(search.hit, search.c, search.c * 4)), shrunk


RULES: dict[str, _Squared | _Excess] = {"l2": _Squared(), "linf": _Excess()}
"""By the norm."""

LOOKS = 10
"""How often a search looks back."""


@register_attack("cw")
@dataclass(frozen=True, kw_only=True)
class CW(SearchAttack):
    """Minimise `D(delta) + c max(-margin, 0)` by Adam, for the least c that reaches the goal.

    l2: D is the squared length, c is bisected. linf: D is the sum of `|delta_i| - tau` where that is positive, and tau
    shrinks. Of the paper's three ways to stay in the range (section V-B) this is the projection after each step: the
    change of variable `x_adv = (tanh(w) + 1) / 2` cannot move a pixel that is exactly 0 or 1. Each row has its own
    clock: it goes on to its next search as soon as its loss no longer falls.

    Cost per sample: at most `searches * steps` queries and gradients.

    Args:
        norm: "l2" or "linf".
        target: the class to reach, see `Attack`.
        searches: number of values of c (l2) or tau (linf) that are tried.
        steps: maximum number of steps for each value.
        lr: Adam's step length: the largest move of a pixel in one step, as a share of the range.
        c: first weight of the margin; default: 2 margin / |gradient|^2 on the clean image, exact for a linear model.
        confidence: lead in logits that a success must exceed; `goal=confident(lead=...)` overrides it.
    """

    norms = ("l2", "linf")
    paper = "Carlini and Wagner 2016, arXiv 1608.04644"

    norm: str = "l2"
    loss: str = "margin"
    steps: int = 200
    lr: float = 0.02
    confidence: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("lr", self.lr)
        check_between("confidence", self.confidence, 0, math.inf)

    def _wish(self, goal: Any) -> Wish | None:
        """`confidence` is a goal like others."""
        return super()._wish(confident(lead=self.confidence) if goal is None and self.confidence else goal)

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        means, search = adam.at_rest(wide(oracle.x)), self._first_search(oracle)
        return State(oracle.x, means, search.c, torch.ones_like(search.c), search, search.hit)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """One step of Adam; where it was a search's last, the next search begins."""
        span = oracle.region.high - oracle.region.low
        span = torch.where(span > 0, span, 1)  # a pixel that is held fast has no span
        margin, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        gradient = gradient * span
        if i == 0:
            state = self._first(state, margin, gradient)
        far, pull = RULES[self.norm].distance((state.x_adv - oracle.x) / span, state.tau)
        short, c = (-margin).clamp(min=0), state.search.c
        pull = pull - per_row(c * (short > 0), pull).to(pull.dtype) * gradient
        search, over = state.search.updated(far + c * short, oracle.fooled, self.steps, max(1, self.steps // LOOKS))
        adam = state.adam.updated(pull)
        x_adv = oracle.region.clamp((state.x_adv - adam.move(search.k, state.lr) * span).to(oracle.x.dtype))
        return self._turn(oracle, state._replace(x_adv=x_adv, adam=adam, search=search), over)

    def _first(self, state: State, margin: Tensor, gradient: Tensor) -> State:
        """c and the step length for a linear model: the first step goes at most a quarter of its way."""
        slope = gradient.flatten(1).abs().sum(1, dtype=torch.float64)
        lr = (margin.double().abs() / (4 * slope).clamp(min=1e-30)).clamp(max=self.lr)
        c = linear_weight(margin, gradient).clamp(1e-10, 1e10) if self.c is None else state.search.c
        return state._replace(search=state.search._replace(c=c), lr=lr)

    def _turn(self, oracle: Oracle, state: State, over: Tensor) -> State:
        """Begin the next search, from the clean image, in the rows whose search has ended."""
        search, tau = RULES[self.norm].next(state.search, state.tau, -oracle.best.value / oracle.region.span)
        state = choose(over, State(oracle.x, adam.at_rest(state.adam.first), state.lr, tau, search, state.done), state)
        return state._replace(done=state.search.over(self.searches))
