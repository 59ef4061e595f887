"""Square: the attack, and what it proposes in each norm."""

from advkit.attacks.square.square import Square

__all__ = ["Square"]
