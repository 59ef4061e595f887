"""Adversarial patches: the attack, and the search for one patch that serves a whole data set."""

from advkit.attacks.patch.adversarial_patch import AdversarialPatch, find_patch
from advkit.attacks.patch.patch import Patch

__all__ = ["AdversarialPatch", "Patch", "find_patch"]
