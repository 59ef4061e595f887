"""The view of a model for attacks in training: gradients only, since nothing but the last point is needed."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from advkit.core import model_checks
from advkit.core.draws import Draws
from advkit.core.goals import check_target_exists
from advkit.core.guard import Model
from advkit.core.losses import Loss, Values, asks_for_clean, climb
from advkit.core.threat import Region


class Slopes:
    """A substitute for the oracle that gives gradients only; it counts no pass and remembers no point.

    Args:
        model: images (N, ...) -> logits (N, K).
        region: the region around the clean images.
        y: true classes (N,).
        goal: the goal of the attack.
        draws: the random numbers of the samples.
    """

    def __init__(self, model: Model, region: Region, y: Tensor, goal: Any, draws: Draws) -> None:
        self._model, self._y, self._checked = model, y, False
        self.x: Tensor = region.x
        self.region, self.goal, self.draws = region, goal, draws

    @cached_property
    def clean(self) -> Tensor:
        """The logits of the clean images (N, K); a separate pass, made only if the loss needs them."""
        with torch.no_grad():
            return self._model(self.x)

    def gradient(
        self, x: Tensor, loss: str | Loss = "cross_entropy", through: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Return the gradient (N, ...) of the loss at the points x, see `climb`.

        Args:
            x: points (N, ...).
            loss: the loss that is differentiated, a name or a function.
            through: a differentiable function: the model sees `through(x)`, and the gradient is that with respect to x.
        """
        return self._climb(x, loss, through)[1]

    def loss_and_gradient(self, x: Tensor, loss: str | Loss = "cross_entropy") -> tuple[Tensor, Tensor]:
        """Return the loss (N,) and its gradient (N, ...) at the points x, see `climb`.

        Args:
            x: points (N, ...).
            loss: the loss that is differentiated, a name or a function.
        """
        values, gradient = self._climb(x, loss)
        return values(), gradient

    def _climb(
        self, x: Tensor, loss: str | Loss, through: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Values, Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            logits = self._model(leaf if through is None else through(leaf))
            if not self._checked:
                model_checks.check_answer(logits.detach(), self.x, self._y)
                check_target_exists(self.goal, logits)
                self._checked = True
            return climb(loss, self.goal, logits, leaf, self.clean if asks_for_clean(loss) else logits.detach())
