"""`advkit card`: the results of a run in a form that others can check."""

import json

import click

from advkit.evaluation import load_run
from advkit.evaluation.cards import make_card, to_markdown, to_robustbench


def run(run: str, form: str) -> None:
    """Do what the command says."""
    found = load_run(run)
    card = make_card(found)
    if form == "md":
        click.echo(to_markdown(card), nl=False)
        return
    click.echo(
        json.dumps(
            to_robustbench(card, found.corruptions) if form == "robustbench" else card, indent=1, allow_nan=False
        )
    )
