"""`advkit defenses`: its options."""

from typing import Any

import click

from advkit.cli._options import Name
from advkit.cli._perform import perform


@click.command()
@click.argument("pattern", type=Name("defense"), default="*")
def command(**options: Any) -> None:
    """List the defences whose names match PATTERN, such as "*fgsm"."""
    perform("defenses", options)
