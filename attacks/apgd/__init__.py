"""APGD: the attack, how it chooses its step, and its form towards the likeliest classes."""

from advkit.attacks.apgd.apgd import APGD
from advkit.attacks.apgd.apgd_targeted import APGDTargeted

__all__ = ["APGD", "APGDTargeted"]
