"""BIM, the basic iterative method: Kurakin, Goodfellow, Bengio 2016, section 2.2 (arXiv 1607.02533)."""

from dataclasses import dataclass

from advkit.attacks.parts.steps import State, StepAttack
from advkit.core.attack import register_attack
from advkit.core.oracle import Oracle


@register_attack("bim")
@dataclass(frozen=True, kw_only=True)
class BIM(StepAttack):
    """FGSM's step many times, from the clean image, each clipped to ball and range.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        steps: the number of steps.
        step_size: length of a step in units of the pixels; default: 1.25 * eps / steps. The paper makes steps of 1/255,
            a quarter more of them than eps needs.
    """

    paper = "Kurakin et al. 2016, arXiv 1607.02533"
    stays_inside = True
    total_length = 1.25

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image."""
        return State(oracle.x, self.length(oracle))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """x <- Clip(x + alpha * sign(grad J))."""
        gradient = oracle.gradient(state.x_adv, self.loss)
        return state._replace(x_adv=oracle.region.step(state.x_adv, gradient, state.length))
