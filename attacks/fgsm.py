"""FGSM, the fast gradient sign method: Goodfellow, Shlens, Szegedy 2014, section 4 (arXiv 1412.6572)."""

from dataclasses import dataclass

from torch import Tensor

from advkit.attacks.parts.point import State
from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.oracle import Oracle


@register_attack("fgsm")
@dataclass(frozen=True, kw_only=True)
class FGSM(BudgetAttack):
    """One step to the point of the ball at which the linearised loss is largest.

    linf: `x + eps * sign(grad_x J(theta, x, y))`. l2: along the gradient. l1: the entries of the largest gradient. In
    each, what the range of the pixels takes from one entry goes to the others, so that the step is the exact optimum of
    the linearised problem in ball and range. Towards a target: down the loss of the target.

    Cost per sample: 2 queries, the second being the verdict, and 1 gradient.
    """

    norms = ("linf", "l2", "l1")
    stays_inside = True
    follows_gradient = True
    paper = "Goodfellow et al. 2014, arXiv 1412.6572"
    total_steps = 1

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        return State(oracle.x)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Return the optimum of the linearised loss."""
        gradient = oracle.gradient(state.x_adv, self.loss)
        return State(oracle.region.maximise(gradient))

    def from_gradient(
        self, x: Tensor, gradient: Tensor, *, eps: float | Tensor | None = None, bounds: tuple[float, float] = (0, 1)
    ) -> Tensor:
        """Return the adversarial images for a known gradient, without a query.

        Args:
            x: images (N, ...) within bounds.
            gradient: (N, ...), gradient at x of the loss to increase; every row may have its own positive scale.
            eps: the radius; it replaces the attack's own.
            bounds: the range of the pixels.
        """
        return self._threat(eps, x, bounds).around(x).maximise(gradient)
