"""Functional colour attacks: the attack, and the space of colours."""

from advkit.attacks.colour.colour import Colour

__all__ = ["Colour"]
