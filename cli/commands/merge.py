"""`advkit merge`: its options."""

from typing import Any

import click

from advkit.cli._options import UserPath
from advkit.cli._perform import perform


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--output", type=UserPath(), metavar="DIR", required=True, help="Folder of the joined run.")
def command(**options: Any) -> None:
    """Join the runs of advkit evaluate --shard I/N, in any order, to the run that one process would have made.

    \b
    advkit merge runs/shard-* --output runs/all
    """
    perform("merge", options)
