"""The card of a run: model, data, threat, attacks, errors from both sides, checks, versions and digests, as JSON."""

import json
import os
from importlib.resources import files
from typing import Any

from advkit.core.errors import InputError
from advkit.core.files import user_path
from advkit.evaluation.measure.tally import Columns
from advkit.evaluation.runs import digests
from advkit.evaluation.runs.identity import typed
from advkit.evaluation.runs.run_folder import Run, load_run

FORMAT = "advkit-card-1"

SCHEMA: dict[str, Any] = json.loads((files(__package__) / "card.schema.json").read_text("utf-8"))
"""The JSON schema of a card."""

LIMITS = (
    "An adversarial error is a lower bound of the error under this threat: a stronger attack may find more.",
    "The intervals are Wilson's at 95 %. They cover the sampling of the images, not the attack nor the training.",
    "Images that are wrong without an attack count as wrong under every attack.",
)
"""What no figure of a card says."""

FIGURES = (
    "attack",
    "kind",
    "norm",
    "eps",
    "stop",
    "adversarial_error",
    "adversarial_error_interval",
    "success_rate",
    "median_distance",
    "queries_per_sample",
    "gradients_per_sample",
    "non_finite",
    "unsteady",
    "zero_gradient",
)
"""What a card takes over of the figures of an attack; times belong to the machine."""


def make_card(run: Run | str | os.PathLike[str]) -> dict[str, Any]:
    """Make the card of a complete run.

    Every figure is computed from the batches of the folder. docs/cards.md describes each key.

    Args:
        run: the run, or its folder.

    Raises:
        InputError: there is no run, it is not complete, or a batch is missing or damaged.
    """
    run = run if isinstance(run, Run) else load_run(run)
    record, figures = run.record, run.report.to_dict()
    config, setting = record["config"], record.get("setting") or {}
    if (figures.get("verdicts") or 1) > 1:
        raise InputError("a card tells counts of images, and this run has several verdicts an image: no card for it")
    return sealed(
        {
            "format": FORMAT,
            "model": {**config["model"], "description": setting.get("model"), "weights": setting.get("weights")},
            "data": {
                **config["data"],
                "evaluated": figures["count"],
                "count": config["count"],
                "seed": config["seed"],
                "batch_size": config["batch_size"],
            },
            "threat": {key: config.get(key) for key in ("bounds", "target", "goal", "stop")},
            "errors": _errors(figures),
            "attacks": [_attack(row) for row in figures["attacks"]],
            "control": figures["control"] and _attack(figures["control"]),
            "checks": _checks(record.get("checks")),
            "batches": [_counted(columns, len(figures["attacks"])) for columns in run],
            "limits": list(LIMITS),
            "environment": record["environment"],
            "command": typed(record["command"]) if record.get("command") else None,
            "started": record["started"],
            "finished": record.get("finished"),
        }
    )


def _errors(figures: dict[str, Any]) -> dict[str, Any]:
    """The sides of the error: what was found, and where there are certificates what no attack in their ball exceeds."""
    both = figures.get("certification")
    return {
        "clean": {"error": figures["clean_error"], "interval": figures["clean_error_interval"]},
        "found": {"error": figures["adversarial_error"], "interval": figures["adversarial_error_interval"]},
        "certified": both
        and {
            "error": both["certified_error"],
            "interval": both["certified_error_interval"],
            "found": {"error": both["found_error"], "interval": both["found_error_interval"]},
            **{name: both[name] for name in ("method", "norm", "eps")},
        },
    }


def _attack(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: figures.get(name) for name in FIGURES}


def _checks(checks: dict[str, Any] | None) -> dict[str, Any] | None:
    if checks is None:
        return None
    findings = {finding["name"]: finding["verdict"] for finding in checks["findings"]}
    return {"verdict": checks["verdict"], "samples": checks["samples"], "findings": findings}


def _counted(columns: list[Columns], attacks: int) -> dict[str, Any]:
    """How many images of a batch are wrong: clean, under each attack, and under any but the control, which is last."""
    clean, *attacked = columns
    found = clean["clean_wrong"].clone()
    for rows in attacked[:attacks]:
        found |= rows["wrong"]
    return {
        "images": len(clean["y"]),
        "clean": int(clean["clean_wrong"].sum()),
        "attacks": [int(rows["wrong"].sum()) for rows in attacked],
        "found": int(found.sum()),
    } | (
        {"open": int((~clean["certified"]).sum()), "broken": int(clean["broken"].sum())} if "certified" in clean else {}
    )


def sealed(card: dict[str, Any]) -> dict[str, Any]:
    """Return the card with a digest of its other entries."""
    return {**card, "digest": digests.of_record(card)}


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a card that `advkit card` wrote.

    Raises:
        InputError: there is no such file, or it is no card.
    """
    place = user_path(path)
    try:
        if place.stat().st_size > MOST:
            raise InputError(f"{path} is no card: it is larger than {MOST >> 20} MB")
        card = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the card {path}: {error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError(f"{path} is no card of advkit: expected the JSON object that advkit card prints ({FORMAT})")
    return card


MOST = 64 << 20
"""Bytes that a card may have."""
