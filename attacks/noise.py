"""Random noise of the same size: the control of Goodfellow, Shlens, Szegedy 2014, section 6 (arXiv 1412.6572).

An attack that does not beat it has found nothing.
"""

from dataclasses import dataclass

from advkit.attacks.parts.point import State
from advkit.attacks.parts.stepless import Stepless
from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.oracle import Oracle


@register_attack("noise")
@dataclass(frozen=True, kw_only=True)
class Noise(Stepless, BudgetAttack):
    """FGSM's step along a random normal vector in place of the gradient: +-eps at every pixel (linf), or l2, or l1.

    Cost per sample: 2 queries, no gradient.
    """

    norms = ("linf", "l2", "l1")
    paper = "Goodfellow et al. 2014, arXiv 1412.6572"
    climbs = False
    knowledge = "nothing"
    targetable = False
    deterministic = False

    def init(self, oracle: Oracle) -> State:
        """Return the noisy image."""
        direction = oracle.draws.normal(0, tuple(oracle.x.shape[1:]))
        return State(oracle.region.maximise(direction))
