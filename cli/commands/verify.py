"""`advkit verify`: its options."""

from typing import Any

import click

from advkit.cli._perform import perform


@click.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(**options: Any) -> None:
    """Check a run of advkit evaluate: every file against its digest, the figures against the batches.

    The exit code is 2 where something is wrong; advkit evaluate ... --resume does missing and damaged batches again.
    """
    perform("verify", options)
