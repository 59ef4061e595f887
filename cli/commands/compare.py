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

    For the clean error, the worst case and each common attack, it prints how many images are wrong in one run only, and
    the p-value of McNemar's exact test for equal errors.
    """
    perform("compare", options)
