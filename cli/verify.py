"""`advkit verify`: whether the folder of an evaluation is whole, and whether a card is true."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from advkit.cli._console import say
from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.evaluation import evaluate, load_run
from advkit.evaluation.cards import check_again, check_beside_run, check_card, read_card
from advkit.evaluation.runs.identity import model_digest
from advkit.evaluation.runs.keep import Keep
from advkit.evaluation.runs.verifying import verify_run
from advkit.models import load_model


def run(run: str, beside: str | None, again: int | None, as_json: bool, **where: Any) -> None:
    """Do what the command says."""
    if Path(run).is_file():
        wrong, what = _of_card(run, beside, again, where), "card"
        right = "the card is true: its digest, sums and intervals are right" + (
            "" if beside is None else ", and its run says the same"
        )
        right += "" if again is None else ", and so does the model, attacked again"
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
        wrong = _attacked_again(card, again, **where)
    return wrong


def _attacked_again(
    card: dict[str, Any], number: int, model: str | None, weights: str | None, data_root: str | None
) -> list[str]:
    """Some batches, evenly over all of them, under the same attacks."""
    classifier = load_model(model or card["model"]["name"], weights=weights)
    if model_digest(classifier) != card["model"]["digest"]:
        return ["the model here is not the card's: its parameters or settings differ; give --model and --weights"]
    name, _, split = (card["data"]["name"] or "").partition(":")
    data = load_data(name, split=split or "test", root=data_root)
    count = len(card["batches"])
    wrong = []
    for batch in sorted({place * count // min(number, count) for place in range(min(number, count))}):
        with TemporaryDirectory() as home:
            report = evaluate(
                classifier,
                data,
                [row["attack"] for row in card["attacks"]],
                control=card["control"] and card["control"]["attack"],
                seed=card["data"]["seed"],
                count=card["data"]["count"],
                batch_size=card["data"]["batch_size"],
                output=home,
                keep=Keep(shard=f"{batch + 1}/{count}", images=False),
                checks=False,
                **{key: card["threat"][key] for key in ("target", "goal", "stop") if card["threat"][key] is not None},
            )
            wrong += check_again(card, report, batch)
    return wrong
