"""L-BFGS, the first attack: Szegedy et al. 2013, Intriguing properties of neural networks, 4.1 (arXiv 1312.6199)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.lbfgs import minimisation, search_for_c
from advkit.core.attack import MinimalAttack, register_attack
from advkit.core.best_points import choose
from advkit.core.door import check_count, check_positive
from advkit.core.large import known_none
from advkit.core.losses import Loss
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """Every row is in the middle of its own search: one step of the driver is one trial point of each."""

    x_adv: Tensor  # (M, ...): the trial point
    box: minimisation.Box
    descent: minimisation.Descent  # the minimisation for this c
    search: search_for_c.SearchForC  # for c
    reached: minimisation.Iterate  # the minimiser for the largest c of this round that hit
    downhill: Tensor  # (M, D): the sign of minus the gradient at x
    done: Tensor  # (M,) bool


@register_attack("lbfgs")
@dataclass(frozen=True, kw_only=True)
class LBFGS(MinimalAttack):
    """Minimise `c |r|^2 + J(x + r, target)` within the range of the pixels, for the largest c that reaches the target.

    The box-constrained minimisation is L-BFGS with the active pixels held at their bound and an Armijo search along the
    projected path. All samples run at once, each with its own c, history and step length, and leave when their search
    ends. The nearest adversarial point among all that were tried is returned.

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
        leap_searches: number of minimisations after each leap.
        first_steps: maximum number of steps of a minimisation that begins far from its solution.
        later_steps: maximum number of steps of a minimisation that begins at the solution for another c.
        c: first weight of the distance, with pixels in units of their range; default: |g|^2 / (20 J), with J (at most
            three times the margin) and its gradient g on the clean image. That is about a quarter of the largest c of
            a linear model of J.
        squared: whether the distance is |r|^2; False takes |r|, as the paper writes it.
        memory: the number of steps that the inverse Hessian remembers.
        loss: "rival" is minus J; "margin" minimises the difference of the logits instead.
        tolerance: a minimisation ends when a step lowers the objective by less than this share.

    A sample for which nothing has fooled the model gets up to three times as many minimisations.
    """

    norms = ("l2",)
    paper = "Szegedy et al. 2013, arXiv 1312.6199"
    needs_classes = True
    stays_inside = True

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
        check_positive("c", self.c, optional=True)

    @property
    def _most(self) -> int:
        """The number of minimisations of a row that has been fooled."""
        return self.searches + self.leaps * self.leap_searches

    @property
    def total_steps(self) -> int:
        """A bound that rows do not reach: every minimisation accepts some of its trials."""
        return 3 * self._most * (self.first_steps + minimisation.TRIALS)

    def init(self, oracle: Oracle) -> State:
        """Take the clean image as the first trial point, which every row accepts."""
        unit = _unit(oracle, self.loss)
        box = minimisation.unit_box(oracle.region, unit)
        descent = minimisation.first_descent(
            box, oracle.clean, self.memory, minimisation.LENGTHS[self.squared], self.first_steps
        )
        search = search_for_c.first_round((self.c or 0.0) / unit.to(box.x.dtype))
        never = torch.zeros_like(oracle.live)
        return State(oracle.x, box, descent, search, descent.now, descent.direction, never)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Classify the trial points, let each row accept or shorten its step, and set out for the next."""
        box, search, distance = state.box, state.search, minimisation.LENGTHS[self.squared]
        loss, gradient = oracle.loss_and_gradient(state.x_adv, self.loss)
        point = box.inside(state.x_adv, loss, gradient, oracle.answer)
        descent, turns, flat = state.descent.updated(distance, search.c, point, self.tolerance)
        if i == 0:
            margin = oracle.goal.margin(oracle.answer) * box.worth
            search = search.started(point.loss, point.gradient, margin)
            descent = descent._replace(f=point.f(distance, search.c))
            state = state._replace(search=search, downhill=-point.gradient.sign())
        over = descent.over(flat)
        if known_none(over):
            descent, trial = descent.trial(box, distance, search.c, turns)
        else:
            state, leap = self._began_anew(oracle, state._replace(descent=descent), over)
            descent, trial = state.descent.trial(box, distance, state.search.c, turns | over)
            trial = torch.where(leap[:, None], state.search.away(box.x, state.downhill), trial)
        return state._replace(x_adv=box.outside(trial, oracle.region), descent=descent)

    def _began_anew(self, oracle: Oracle, state: State, over: Tensor) -> tuple[State, Tensor]:
        """The next minimisation of the rows `over` (M,) bool, and (M,) bool: the rows that leap to its start."""
        descent, hit = state.descent, oracle.fools(state.descent.now.answer)
        reached = choose(over & hit, descent.now, state.reached)
        search, leap = state.search.after(over, hit, self.searches, self.leap_searches)
        most = torch.where(search.hit == 0, self.first_steps, self.later_steps)
        descent = descent.again(over, reached, most, fresh=(over & ~hit) | leap, unseen=leap)
        descent = descent._replace(f=descent.now.f(minimisation.LENGTHS[self.squared], search.c))
        done = (search.number >= self._most) & (oracle.best.fooled | (search.number >= 3 * self._most))
        return state._replace(descent=descent, search=search, reached=reached, done=done), leap


def _unit(oracle: Oracle, loss: str | Loss) -> Tensor:
    """(M,): what the loss is counted in. The margin has no unit of its own: that on the clean image; J has one."""
    margin = oracle.goal.margin(oracle.clean).abs()
    return margin.clamp(min=search_for_c.TINY) if loss == "margin" else torch.ones_like(margin)
