"""Pictures, drawn by matplotlib without touching its global state."""

from advkit.figures._examples import examples

__all__ = ["examples"]
