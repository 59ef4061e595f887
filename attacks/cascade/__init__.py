"""The cascade: the attack, and the order of its stages."""

from advkit.attacks.cascade.cascade import Cascade

__all__ = ["Cascade"]
