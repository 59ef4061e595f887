"""From the options of a command to what it does, which is imported only when it is wanted."""

from importlib import import_module
from typing import Any


def perform(name: str, options: dict[str, Any]) -> None:
    """Call `run` of the module `advkit.cli.NAME`, so that the help of a command imports none of what runs it."""
    import_module(f"advkit.cli.{name}").run(**options)
