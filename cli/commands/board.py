"""`advkit board`: its options."""

from typing import Any

import click

from advkit.cli._options import UserPath
from advkit.cli._perform import perform


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--output", type=UserPath(), metavar="FILE", help="An .html page to sort, or a .tex table.")
def command(**options: Any) -> None:
    """Print several runs of advkit evaluate, or cards, as one table, the smallest error first.

    \b
    advkit board runs/* --output board.html
    """
    perform("board", options)
