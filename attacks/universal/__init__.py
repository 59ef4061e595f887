"""Universal perturbations: the attack, and the search for one perturbation of many images."""

from advkit.attacks.universal.universal import Universal
from advkit.attacks.universal.universal_perturbation import UniversalPerturbation, find_universal

__all__ = ["Universal", "UniversalPerturbation", "find_universal"]
