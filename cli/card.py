"""`advkit card`: what a run found, in a form that others can check."""

import json

import click

from advkit.evaluation.cards import make_card, to_markdown, to_robustbench


def run(run: str, form: str) -> None:
    """Do what the command says."""
    card = make_card(run)
    if form == "md":
        click.echo(to_markdown(card), nl=False)
        return
    click.echo(json.dumps(to_robustbench(card) if form == "robustbench" else card, indent=1, allow_nan=False))
