"""The spatial attack: the attack, and the motion of images."""

from advkit.attacks.spatial.spatial import Spatial

__all__ = ["Spatial"]
