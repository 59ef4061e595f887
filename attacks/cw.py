"""The attacks of Carlini and Wagner 2016, sections VI-A (l2) and VI-C (linf) (arXiv 1608.04644)."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from advkit.core.attack import MinimalAttack, check_count, check_positive, register_attack
from advkit.core.goals import wide
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle, choose

PATIENCE = 10
"""A search looks back so many times; it ends where the loss has not fallen by a ten-thousandth since the last time."""


class Search(NamedTuple):
    """The search for c of each row; its k-th step has its own number in each row."""

    c: Tensor  # (M,): weight of the margin
    low: Tensor  # (M,): the largest c that missed, 0 if none
    high: Tensor  # (M,): the smallest c that hit, inf if none
    lr: Tensor  # (M,): Adam's step length
    tau: Tensor  # (M,): what a pixel may move for nothing (linf)
    hit: Tensor  # (M,) bool: this search has reached the goal
    number: Tensor  # (M,) int64: of the search
    k: Tensor  # (M,) int64: steps made in it
    before: Tensor  # (M,): the loss when it looked back last


class State(NamedTuple):
    """Adam on x_adv."""

    x_adv: Tensor  # (M, ...)
    first: Tensor  # (M, ...): mean of the gradient
    second: Tensor  # (M, ...): mean of its square
    search: Search
    done: Tensor  # (M,) bool


class Rule(Protocol):
    """What the norm decides."""

    def distance(self, delta: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) the distance term and its gradient (M, ...), delta in units of the range."""

    def next(self, search: Search, nearest: Tensor) -> Search:
        """The search that follows, for rows whose search is over; `nearest` (M,) is the least distance so far."""


class _Squared:
    """l2: |delta|^2, bisection for c."""

    def distance(self, delta: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        return (delta**2).flatten(1).sum(1), 2 * delta

    def next(self, search: Search, nearest: Tensor) -> Search:
        high = torch.where(search.hit, search.c.minimum(search.high), search.high)
        low = torch.where(search.hit, search.low, search.c.maximum(search.low))
        c = torch.where(high.isfinite(), (low + high) / 2, search.c * 10)
        return search._replace(c=c, low=low, high=high)


class _Excess:
    """linf: the sum of what exceeds tau; after a hit tau shrinks to a share of the least distance, else c grows."""

    def distance(self, delta: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        over = (delta.abs() - per_row(tau, delta)).clamp(min=0)
        return over.flatten(1).sum(1), delta.sign() * (over > 0)

    def next(self, search: Search, nearest: Tensor) -> Search:
        tau = torch.where(search.hit, 0.9 * nearest.minimum(search.tau), search.tau)
        return search._replace(tau=tau, c=torch.where(search.hit, search.c, search.c * 4))


RULES: dict[str, Rule] = {"l2": _Squared(), "linf": _Excess()}


@register_attack("cw")
@dataclass(frozen=True, kw_only=True)
class CW(MinimalAttack):
    """Minimise `D(delta) + c max(confidence - margin, 0)` by Adam, for the least c that reaches the goal.

    l2: D is the squared length, c is bisected. linf: D is the sum of `|delta_i| - tau` where that is positive, and tau
    shrinks. Of the paper's three ways to stay in the range (section V-B) this is the projection after each step: the
    change of variable `x_adv = (tanh(w) + 1) / 2` cannot move a pixel that is exactly 0 or 1. Each row has its own
    clock: it goes on to its next search as soon as its loss stands still.

    Cost per sample: at most `searches * steps` queries and gradients.

    Args:
        norm: "l2" or "linf".
        target: see `Attack`.
        searches: the number of values of c, or of tau.
        steps: the most steps for each.
        lr: Adam's step length, the most that a pixel moves in a step, as a share of the range.
        c: the first weight; 2 margin / |gradient|^2 on the clean image unless given: right where the model is linear.
        confidence: the margin that is aimed at, in logits.
    """

    norms = ("l2", "linf")
    paper = "Carlini and Wagner 2016, arXiv 1608.04644"

    norm: str = "l2"
    loss: str = "margin"
    searches: int = 9
    steps: int = 200
    lr: float = 0.02
    c: float | None = None
    confidence: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("searches", self.searches)
        check_count("steps", self.steps)
        check_positive("lr", self.lr)
        if self.c is not None:
            check_positive("c", self.c)

    @property
    def total_steps(self) -> int:
        """`searches * steps`."""
        return self.searches * self.steps

    def init(self, oracle: Oracle) -> State:
        """The clean image."""
        zero, still = (
            torch.zeros(len(oracle.x), device=oracle.x.device, dtype=torch.float64),
            torch.zeros_like(wide(oracle.x)),
        )
        none = torch.zeros_like(zero, dtype=torch.int64)
        search = Search(
            zero + (self.c or 0), zero, zero + torch.inf, zero, zero + 1, none.bool(), none, none, zero + torch.inf
        )
        return State(oracle.x, still, still, search, none.bool())

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """One step of Adam; where it was a search's last, the next search begins."""
        rule, search, span = RULES[self.norm], state.search, oracle.region.high - oracle.region.low
        margin, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        gradient = gradient * span
        if i == 0:
            search = self._first(search, margin, gradient)
        far, pull = rule.distance((state.x_adv - oracle.x) / span, search.tau)
        short = (self.confidence - margin).clamp(min=0)
        loss = far + search.c * short
        pull = pull - per_row(search.c * (short > 0), pull).to(pull.dtype) * gradient
        look = search.k % max(self.steps // PATIENCE, 1) == 0
        stuck = look & (loss >= 0.9999 * search.before)
        search = search._replace(
            k=search.k + 1, hit=search.hit | oracle.fooled, before=torch.where(look, loss, search.before)
        )
        state = self._adam(oracle, state._replace(search=search), pull, span)
        return self._turn(oracle, state, stuck | (search.k >= self.steps))

    def _first(self, search: Search, margin: Tensor, gradient: Tensor) -> Search:
        """c and the step length for a linear model: the first step goes at most a quarter of its way."""
        flat, margin = gradient.double().flatten(1), margin.double().abs()
        c = 2 * margin / flat.square().sum(1).clamp(min=1e-30)
        lr = (margin / (4 * flat.abs().sum(1)).clamp(min=1e-30)).clamp(max=self.lr)
        return search._replace(c=c.clamp(1e-10, 1e10) if self.c is None else search.c, lr=lr)

    def _adam(self, oracle: Oracle, state: State, gradient: Tensor, span: Tensor) -> State:
        first, second = 0.9 * state.first + 0.1 * gradient, 0.999 * state.second + 0.001 * gradient**2
        k = state.search.k.double()
        rate, width = state.search.lr / (1 - 0.9**k), (1 - 0.999**k) ** -0.5
        move = (
            per_row(rate, first).to(first.dtype)
            * first
            / (second.sqrt() * per_row(width, first).to(first.dtype) + 1e-8)
        )
        x_adv = oracle.region.clamp((state.x_adv - move * span).to(oracle.x.dtype))
        return state._replace(x_adv=x_adv, first=first, second=second)

    def _turn(self, oracle: Oracle, state: State, over: Tensor) -> State:
        """The rows whose search is over begin the next, from the clean image."""
        search, none = state.search, torch.zeros_like(state.first)
        follows = RULES[self.norm].next(search, -oracle.best.value)
        follows = follows._replace(
            hit=torch.zeros_like(over), number=search.number + 1, k=0 * search.k, before=search.before + torch.inf
        )
        begins = State(oracle.x, none, none, follows, state.done)
        state = choose(over, begins, state)
        return state._replace(done=state.search.number >= self.searches)
