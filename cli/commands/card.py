"""`advkit card`: its options."""

from typing import Any

import click

from advkit.cli._perform import perform


@click.command()
@click.argument("run")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "md", "robustbench"]),
    default="json",
    show_default=True,
    help="json: everything, with digests; md: Markdown; robustbench: the model_info of RobustBench.",
)
def command(**options: Any) -> None:
    """Print the card of a run of advkit evaluate: model, data, threat, errors, attacks, checks, versions, digests.

    \b
    advkit card runs/lenet5 > lenet5.json
    advkit verify lenet5.json
    """
    perform("card", options)
