"""ALMA: the attack, and its augmented Lagrangian."""

from advkit.attacks.alma.alma import ALMA

__all__ = ["ALMA"]
