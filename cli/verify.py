"""`advkit verify`: whether the folder of an evaluation is whole, and its figures are those of its batches."""

import json

import click

from advkit.cli._console import say
from advkit.core.errors import InputError
from advkit.evaluation.runs.verifying import verify_run


def run(run: str, as_json: bool) -> None:
    """Do what the command says."""
    wrong = verify_run(run)
    if as_json:
        click.echo(json.dumps({"run": run, "whole": not wrong, "wrong": wrong}))
    else:
        for sentence in wrong:
            say(f"- {sentence}")
    if wrong:
        raise InputError(
            f"the run in {run} is not whole: {len(wrong)} {'thing is' if len(wrong) == 1 else 'things are'} wrong"
        )
    if not as_json:
        say(f"{run}: whole. Every batch is as it was written, and the figures are those of the batches.")
