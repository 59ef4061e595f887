"""The command `advkit`: options in, tables and pictures out."""

from advkit.cli._group import main

__all__ = ["main"]
