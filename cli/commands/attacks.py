"""`advkit attacks`: its options."""

from typing import Any

import click

from advkit.cli._options import Name
from advkit.cli._perform import perform


@click.command()
@click.argument("pattern", type=Name("attack"), default="*")
def command(**options: Any) -> None:
    """List the attacks whose names match PATTERN, such as "*gd"."""
    perform("attacks", options)
