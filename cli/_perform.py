"""Execution of a command; the code is imported only when the command runs."""

from importlib import import_module
from typing import Any


def perform(name: str, options: dict[str, Any]) -> None:
    """Call `run` of the module `advkit.cli.NAME`, so that a command's help does not import the code that runs it."""
    import_module(f"advkit.cli.{name}").run(**options)
