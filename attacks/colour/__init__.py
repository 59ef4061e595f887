"""Functional colour attacks: the attack, and the space of colours."""

from advkit.attacks.colour.recolour import Colour

__all__ = ["Colour"]
