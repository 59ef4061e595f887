"""`advkit verify`: check the folder of an evaluation, or a card."""

import json
from typing import Any

import click

from advkit.cli._console import say
from advkit.core.errors import InputError
from advkit.core.files import user_path
from advkit.evaluation import load_run
from advkit.evaluation.cards import check_again, check_beside_run, check_card, read_card
from advkit.evaluation.runs.verifying import verify_run


def run(run: str, beside: str | None, again: int | None, as_json: bool, **where: Any) -> None:
    """Do what the command says."""
    if user_path(run).is_file():
        wrong, what = _of_card(run, beside, again, where), "card"
        right = "the card is true: its digest, sums and intervals are right" + (
            "" if beside is None else ", and its run says the same"
        )
        right += "" if again is None else ". The model, attacked again, gives the same answers"
    else:
        if beside is not None or again is not None or any(where.values()):
            raise InputError(
                f"--beside, --again, --model, --weights and --data-root are for cards, and {run} is no file"
            )
        wrong, what = verify_run(run), "run"
        right = "whole. Every batch is as it was written, and the figures are those of the batches"
    if as_json:
        click.echo(json.dumps({"run": run, "whole": not wrong, "wrong": wrong}))
    else:
        for sentence in wrong:
            say(f"- {sentence}")
    if wrong:
        told = f"{len(wrong)} {'thing is' if len(wrong) == 1 else 'things are'} wrong"
        raise InputError(
            f"the run in {run} is not whole: {told}" if what == "run" else f"the card {run} is not true: {told}"
        )
    if not as_json:
        say(f"{run}: {right}.")


def _of_card(path: str, beside: str | None, again: int | None, where: dict[str, Any]) -> list[str]:
    card = read_card(path)
    wrong = check_card(card)
    if not wrong and beside is not None:
        wrong = check_beside_run(card, load_run(beside))
    if not wrong and again is not None:
        wrong = check_again(card, again, model=where["model"], weights=where["weights"], root=where["data_root"])
    return wrong
