"""`advkit data`: its options."""

from typing import Any

import click

from advkit.cli._options import Name, shared
from advkit.cli._perform import perform


@click.command()
@click.argument("pattern", type=Name("data set"), default="*")
@shared("data-root")
@click.option("--download", is_flag=True, help="Get the data set PATTERN if it is not here, and verify it.")
@click.option("--check", is_flag=True, help="Read every image of the data set PATTERN and name the broken files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(**options: Any) -> None:
    """List the data sets whose names match PATTERN, and which of them are installed; or show one in detail.

    PATTERN is whatever --data takes elsewhere: a name (advkit data mnist), with options or without, folder:PATH, a
    file or a function of your own. Or it is a shell pattern ("cifar*").
    """
    perform("data", options)
