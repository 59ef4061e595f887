"""The output of `advkit attack --json`: one JSON object."""

import json
from typing import Any

import click

from advkit._version import __version__
from advkit.core.saved import finite
from advkit.evaluation import Report
from advkit.models import Classifier


def print_json(
    report: Report,
    model: str,
    classifier: Classifier,
    *,
    device: str,
    transform: str | None = None,
    through: Report | None = None,
) -> None:
    """Print the figures of the first attack as one JSON object; infinite and undefined values are null.

    Args:
        report: the report.
        model: name of the network.
        classifier: the network.
        device: the device that it is on.
        transform: spec of the transform in front of it.
        through: report of the attack through the transform, where the attack of `report` ignores it.
    """
    row, control = report.attacks[0], report.control
    figures = {
        "model": model,
        "data": report.data,
        "weights": classifier.card.source,
        "count": report.count,
        "attack": row.attack,
        "norm": row.norm,
        "eps": finite(row.eps),
        "clean_error": report.clean_error,
        "clean_error_interval": report.clean_error_interval,
        "noise_error": control.adversarial_error if control else None,
        "noise_error_interval": control.adversarial_error_interval if control else None,
        "adversarial_error": row.adversarial_error,
        "adversarial_error_interval": row.adversarial_error_interval,
        "success_rate": finite(row.success_rate),
        "mean_confidence": finite(row.mean_confidence),
        "median_distance": finite(row.median_distance),
        "queries_per_sample": row.queries_per_sample,
        "gradients_per_sample": row.gradients_per_sample,
        "seconds": row.seconds,
        "device": device,
        "seed": report.seed,
        "version": __version__,
    }
    click.echo(json.dumps({**figures, **_behind(transform, through), **_unusual(report)}, allow_nan=False))


def _behind(transform: str | None, through: Report | None) -> dict[str, Any]:
    """Entries that appear only with a transform: whether the attack went through it, and the error if it had."""
    if transform is None:
        return {}
    said = {"transform": transform, "adaptive": through is None}
    if through is None:
        return said
    row = through.attacks[0]
    errors = {"adaptive_error": row.adversarial_error, "adaptive_error_interval": row.adversarial_error_interval}
    return {**said, **errors}


def _unusual(report: Report) -> dict[str, Any]:
    """Entries that appear only in unusual cases: the goal, several verdicts, and reasons to doubt the errors."""
    row, several = report.attacks[0], report.verdicts > 1
    said = {
        "goal": report.goal,
        "verdicts": report.verdicts if several else None,
        "clean_error_spread": report.clean_error_spread if several else None,
        "adversarial_error_spread": row.adversarial_error_spread if several else None,
        "nature": report.nature,
        "non_finite": row.counts.non_finite,
        "unsteady": row.counts.unsteady,
        "warnings": report.warnings,
    }
    return {name: value for name, value in said.items() if value or (several and name.endswith("_spread"))}
