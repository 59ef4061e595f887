"""`advkit report`: its options."""

from typing import Any

import click

from advkit.cli._perform import perform


@click.command()
@click.argument("run")
@click.option(
    "--profile",
    type=click.Choice(["nist-ai-100-2", "ai-act-15", "atlas"]),
    required=True,
    help="The document whose terms are used: NIST's taxonomy, Article 15 of the AI Act, or MITRE ATLAS.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "json"]),
    default="md",
    show_default=True,
    help="md: for people; json: every statement with the place and the value of its figures.",
)
def command(**options: Any) -> None:
    """Print what a run of advkit evaluate tried, in the terms of a document for auditors, and what it did not try.

    It is no certificate of conformity.

    \b
    advkit report runs/lenet5 --profile nist-ai-100-2
    """
    perform("report", options)
