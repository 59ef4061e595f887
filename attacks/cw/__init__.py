"""Carlini and Wagner's attack, and Adam with a clock of its own in every row."""

from advkit.attacks.cw.cw import CW

__all__ = ["CW"]
