"""The output of `advkit evaluate --json`: one JSON object."""

import json
from pathlib import Path

import click

from advkit._version import __version__
from advkit.evaluation import Report
from advkit.models import Classifier


def print_json(report: Report, model: str, classifier: Classifier, output: Path | None) -> None:
    """Print every figure as one JSON object; infinite and undefined values are null."""
    about = {
        "model": model,
        "weights": classifier.card.source,
        "device": str(classifier.normalize.mean.device),
        "output": None if output is None else str(output),
        "version": __version__,
    }
    click.echo(json.dumps({**about, **report.to_dict(), "lower_bound": True}, allow_nan=False))
