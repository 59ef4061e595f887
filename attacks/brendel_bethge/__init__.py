"""Brendel and Bethge: the attack, and the problem that it solves in each step."""

from advkit.attacks.brendel_bethge.brendel_bethge import BrendelBethge

__all__ = ["BrendelBethge"]
