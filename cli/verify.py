"""`advkit verify`: whether the folder of an evaluation is whole, and its figures are those of its batches."""

import json

import click

from advkit.cli._console import say
from advkit.core.errors import InputError
from advkit.evaluation.runs.verifying import verify_run


@click.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(run: str, as_json: bool) -> None:
    """Check a run of advkit evaluate: every file against its digest, the figures against the batches.

    The exit code is 2 where something is wrong; advkit evaluate ... --resume does missing and damaged batches again.
    """
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
