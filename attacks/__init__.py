"""The attacks: one paper a file."""

from typing import Any

from advkit.attacks.apgd import APGD
from advkit.attacks.apgd_targeted import APGDTargeted
from advkit.attacks.bim import BIM
from advkit.attacks.ddn import DDN
from advkit.attacks.deepfool import DeepFool
from advkit.attacks.fgsm import FGSM
from advkit.attacks.lbfgs import LBFGS
from advkit.attacks.mifgsm import MIFGSM
from advkit.attacks.minimal_eps import Smallest, smallest
from advkit.attacks.noise import Noise
from advkit.attacks.pgd import PGD
from advkit.attacks.restarts import Restarts, restarts
from advkit.attacks.square import Square
from advkit.attacks.targets import Targets, targets
from advkit.core.attack import ATTACKS, Attack, BudgetAttack, MinimalAttack
from advkit.core.registry import Spec
from advkit.core.result import Result

__all__ = [
    "APGD",
    "ATTACKS",
    "BIM",
    "DDN",
    "FGSM",
    "LBFGS",
    "MIFGSM",
    "PGD",
    "APGDTargeted",
    "Attack",
    "BudgetAttack",
    "DeepFool",
    "MinimalAttack",
    "Noise",
    "Restarts",
    "Result",
    "Smallest",
    "Square",
    "Targets",
    "create_attack",
    "list_attacks",
    "restarts",
    "smallest",
    "targets",
]


def list_attacks(pattern: str = "*") -> list[str]:
    """The names of the attacks that match a shell pattern."""
    return ATTACKS.names(pattern)


def create_attack(spec: str | Spec, **options: Any) -> Attack:
    """An attack from its name or a spec such as "pgd(eps=8/255, steps=40)"; `options` override those of the spec.

    Raises:
        InputError: unknown name or option, or a value that the attack refuses.
    """
    return ATTACKS.create(spec, **options)
