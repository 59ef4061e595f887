"""PGD, projected gradient descent: Madry et al. 2017, section 2.1 (arXiv 1706.06083)."""

from dataclasses import dataclass

from advkit.attacks.parts.random_start import RandomStart
from advkit.attacks.parts.steps import State, StepAttack
from advkit.core.attack import register_attack
from advkit.core.oracle import Oracle


@register_attack("pgd")
@dataclass(frozen=True, kw_only=True)
class PGD(RandomStart, StepAttack):
    """Steps along the steepest direction of the norm, each followed by the projection onto ball and range.

    l1: along the signs of the hundredth of the entries with the largest gradients, one at least, that can still move
    (Tramer and Boneh 2019, arXiv 1904.13000), and onto the nearest point of ball and range together. l0: along the
    whole gradient, in units of its mean entry, and onto that nearest point too, which keeps eps entries, or pixels
    (Croce and Hein 2019, arXiv 1909.05040, PGD_0).

    Cost per sample: `steps` gradients and `steps` + 1 queries, the last being the verdict; a random start costs one
    more, since the clean image is classified too.

    Args:
        steps: the number of steps.
        step_size: length of a step in units of the pixels; default: 2.5 * eps / steps, as in the paper's section 5
            (l2). In l0 it is the mean change of an entry; default: 80 times the range / steps.
        random_start: whether to begin at a random point of the ball; otherwise at the clean image.
    """

    norms = (*StepAttack.norms, "l0", "l0_pixels")
    paper = "Madry et al. 2017, arXiv 1706.06083"
    stays_inside = True
    total_length = 2.5

    steps: int = 40

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image or at a random point of the ball."""
        start = oracle.region.start(oracle.draws, step=0) if self.random_start else oracle.x
        return State(start, self.length(oracle))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """x <- Proj(x + step_size * steepest(grad J))."""
        gradient = oracle.gradient(state.x_adv, self.loss)
        return state._replace(x_adv=oracle.region.step(state.x_adv, gradient, state.length))
