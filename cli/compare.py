"""`advkit compare`: compare two runs on the same images, by McNemar's exact test (1947)."""

import json

import click

from advkit.evaluation import compare_runs


def run(first: str, second: str, as_json: bool) -> None:
    """Do what the command says."""
    found = compare_runs(first, second)
    if as_json:
        click.echo(json.dumps({**found.to_dict(), "lower_bound": True}, allow_nan=False))
        return
    click.echo(str(found))
