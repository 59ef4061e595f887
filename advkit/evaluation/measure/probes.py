"""The attacks that the checks use."""

from dataclasses import dataclass

from advkit.core.attack import ATTACKS, Attack


@dataclass(frozen=True, kw_only=True)
class Probes:
    """The attacks that the checks use, all of them budget attacks in linf; each is called with several `eps`.

    Attributes:
        fgsm: one step along the gradient.
        pgd: many such steps.
        noise: random noise of the same size, the control.
    """

    fgsm: Attack
    pgd: Attack
    noise: Attack


def probes(*, steps: int = 20) -> Probes:
    """Make FGSM, PGD with this number of steps and a random start, and random noise.

    Args:
        steps: number of steps of PGD.
    """
    return Probes(
        fgsm=ATTACKS.create("fgsm"), pgd=ATTACKS.create("pgd", steps=steps), noise=ATTACKS.create("noise", norm="linf")
    )
