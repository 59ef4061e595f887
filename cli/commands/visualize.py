"""`advkit visualize`: a group of commands of its own."""

from advkit.cli.visualize import command

__all__ = ["command"]
