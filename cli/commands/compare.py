"""`advkit compare`: its options."""

from typing import Any

import click

from advkit.cli._perform import perform


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(**options: Any) -> None:
    """Compare two runs of advkit evaluate on the images that both have.

    Clean error, worst case, and each attack that both runs have: how many images are wrong in one run only, and how
    likely so unequal a split is if the errors are equal (McNemar's exact test).
    """
    perform("compare", options)
