"""`advkit visualize examples`: images with the five likeliest classes as bars."""

from pathlib import Path
from typing import Any

import click

from advkit.cli._picture import check_place
from advkit.cli.visualize._scene import scene
from advkit.core.classify import classify
from advkit.figures import answers_sheet


def run(attack: str | None, output: Path | None, model: str, **options: Any) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-examples.png")
    seen = scene(model, **options)
    rows = [
        (name if attack else "", x.cpu(), classify(seen.classifier, x).cpu()) for name, x in seen.groups(attack)
    ]  # fmt: skip
    data = f"{seen.source}; attack {attack}" if attack else seen.source
    answers_sheet(rows, y=seen.true, classes=seen.classes, title=seen.title, data=data, path=place)
    click.echo(f"Picture: {place} ({len(seen.x)} images)")
