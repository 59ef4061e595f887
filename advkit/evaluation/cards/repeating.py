"""Checks of a card by repetition: some of its batches are attacked again."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from advkit.core.contents import digests_of
from advkit.data import load_data
from advkit.evaluation.evaluating import evaluate
from advkit.evaluation.measure.report import Report
from advkit.evaluation.runs.identity import model_digest
from advkit.evaluation.runs.keep import Keep
from advkit.models import load_model

SLACK = 0.02
"""The share of a batch whose answers another machine may round to the other side."""


def check_again(
    card: Mapping[str, Any],
    number: int = 1,
    *,
    model: str | None = None,
    weights: str | Path | None = None,
    root: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Attack some batches again; list what contradicts the card, one sentence each.

    Another machine rounds differently: a count may differ by one image, or by 2 % of the batch.

    Args:
        card: the card, as `read_card` gives it.
        number: number of batches, taken evenly over all of them.
        model: name of the model; default: the one that the card names.
        weights: weights of the model, see `load_model`.
        root: folder of the data sets, see `load_data`.

    Raises:
        InputError: the model or the data are missing.
    """
    classifier = load_model(model or card["model"]["name"], weights=weights)
    hooks = digests_of(classifier)["hooks"]  # their code differs between versions of Python
    if model_digest(classifier) != card["model"]["digest"] or (hooks is None) != (card["model"].get("hooks") is None):
        return [
            "the model here is not the card's: its parameters, settings or hooks differ; give the model and its weights"
        ]
    name, _, split = (card["data"]["name"] or "").rpartition(":")
    data = load_data(name, split=split or "test", root=root)
    count = len(card["batches"])
    chosen = sorted({place * count // min(number, count) for place in range(min(number, count))})
    return [wrong for batch in chosen for wrong in _attacked_again(card, classifier, data, batch)]


def _attacked_again(card: Mapping[str, Any], classifier: Any, data: Any, batch: int) -> list[str]:
    """What the same attacks on one batch contradict; the report reads its rows from a folder that lasts as long."""
    with TemporaryDirectory() as home:
        report = evaluate(
            classifier,
            data,
            [row["attack"] for row in card["attacks"]],
            control=card["control"] and card["control"]["attack"],
            output=home,
            checks=False,
            keep=Keep(shard=f"{batch + 1}/{len(card['batches'])}", images=False),
            **{key: card["data"][key] for key in ("seed", "count", "batch_size")},
            **{key: card["threat"][key] for key in ("target", "goal", "stop") if card["threat"][key] is not None},
        )
        return compared(card, report, batch)


def compared(card: Mapping[str, Any], report: Report, batch: int) -> list[str]:
    """List what a second report on one batch contradicts, one sentence each.

    Args:
        card: the card that `read_card` returns.
        report: report of the same attacks on the images of that batch alone.
        batch: number of the batch.
    """
    said = card["batches"][batch]
    if report.count != said["images"]:
        return [f"batch {batch} has {said['images']} images on the card and {report.count} here"]
    slack = max(1, math.ceil(SLACK * report.count))
    rows = [*report.attacks, *([report.control] if report.control else [])]
    names = ["clean", *(row.attack for row in rows)]
    found = [int(report.clean_wrong.sum()), *(int(row.wrong.sum()) for row in rows)]
    told = [said["clean"], *said["attacks"]]
    return [
        f"{name}: {a} of {report.count} wrong on the card, {b} here (batch {batch})"
        for name, a, b in zip(names, told, found, strict=True)
        if abs(a - b) > slack
    ]
