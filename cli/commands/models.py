"""`advkit models`: its options."""

from typing import Any

import click

from advkit.cli._options import Name
from advkit.cli._perform import perform


@click.command()
@click.argument("pattern", type=Name("model"), default="*")
@click.option("--input-shape", metavar="C,H,W", help="Show the layers for such images. [the paper's]")
@click.option("--classes", type=click.IntRange(min=2), help="Number of classes of the networks.")
@click.option("--width", metavar="NUMBER", help="Factor of the layers' widths: 0.25 or 1/4.")
def command(**options: Any) -> None:
    """List the networks whose names match PATTERN, such as "vgg*"; for one full name, list its layers."""
    perform("models", options)
