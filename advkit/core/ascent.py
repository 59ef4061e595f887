"""The last point of an attack whose steps follow the gradient, at one pass a step: what training wants."""

from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from advkit.core import door
from advkit.core.draws import Draws
from advkit.core.driver import Problem, alone_with
from advkit.core.goals import untargeted
from advkit.core.guard import Model
from advkit.core.losses import Loss, asks_for_clean, loss_values
from advkit.core.threat import Region


class Steps(Protocol):
    """What is needed of the attack."""

    @property
    def total_steps(self) -> int: ...
    def init(self, oracle: Any) -> Any: ...
    def step(self, oracle: Any, state: Any, i: int) -> Any: ...


class Slopes:
    """The model as an attack that follows the gradient sees it: gradients alone, none counted or remembered.

    Args:
        model: images (N, ...) -> logits (N, K).
        problem: the call, checked; its goal is to leave y.
    """

    def __init__(self, model: Model, problem: Problem) -> None:
        self._model, self._y, self._checked = model, problem.y, False
        self.x: Tensor = problem.x
        self.region: Region = problem.threat.around(problem.x)
        self.draws: Draws = problem.draws
        goal = untargeted(problem.y)
        self.goal: Any = goal if problem.wish is None else problem.wish.bind(goal)

    @cached_property
    def clean(self) -> Tensor:
        """The logits of the clean images (N, K): a pass of its own, made where a loss asks for them."""
        with torch.no_grad():
            return self._model(self.x)

    def loss_and_gradient(self, x: Tensor, loss: str | Loss = "cross_entropy") -> tuple[Tensor, Tensor]:
        """The loss (N,) and its gradient (N, ...) at the points x; entries that are NaN count as 0.

        Args:
            x: points (N, ...).
            loss: the loss that is differentiated, a name or a function.
        """
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            logits = self._model(leaf)
            if not self._checked:
                door.check_answer(logits.detach(), self.x, self._y)
                self._checked = True
            values = loss_values(loss, self.goal, logits, self.clean if asks_for_clean(loss) else logits.detach())
            (gradient,) = torch.autograd.grad(values.sum(), leaf, allow_unused=True)
        found = torch.zeros_like(x) if gradient is None else gradient.nan_to_num(0.0)
        return values.detach(), found.detach().contiguous()


def last_point(attack: Steps, model: Model, problem: Problem) -> Tensor:
    """Where the attack ends (N, ...): feasible, not classified, maybe not the strongest of its points.

    The clean images are not looked at, and there is no verdict: k steps are k passes.
    """
    with alone_with(model, problem) as (classify, problem):
        oracle = Slopes(classify, problem)
        state = attack.init(oracle)
        for i in range(attack.total_steps):
            state = attack.step(oracle, state, i)
        return oracle.region.settle(state.x_adv)
