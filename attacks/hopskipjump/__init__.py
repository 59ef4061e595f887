"""HopSkipJump: the attack, and the normal of the boundary from labels alone."""

from advkit.attacks.hopskipjump.hopskipjump import HopSkipJump

__all__ = ["HopSkipJump"]
