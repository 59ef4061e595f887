"""`advkit visualize directions`: images along single units and along random combinations of all units."""

from pathlib import Path
from typing import Any

import click

from advkit.cli._picture import check_place
from advkit.cli.visualize._scene import last_hidden, scene
from advkit.figures import directions_sheet
from advkit.insight import activity, directions


def run(
    layer: str | None,
    units: tuple[int, ...],
    random: int,
    seed: int,
    images: int,
    count: int,
    output: Path | None,
    model: str,
    **options: Any,
) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-directions.png")
    seen = scene(model, **options)
    layer, data = layer or last_hidden(seen.classifier), seen.part(images)
    chosen = list(units)
    if not chosen:
        strongest = activity(seen.classifier, data, layer=layer).largest.argsort(descending=True)
        chosen = strongest[: max(random, 1)].tolist()
    found = directions(seen.classifier, data, layer=layer, units=chosen, random=random, seed=seed, count=count)
    names = [f"unit {unit}" for unit in chosen] + [f"random {i}" for i in range(random)]
    directions_sheet(found, names, data, layer=layer, title=seen.title, path=place)
    for name, direction in zip(names, found, strict=True):
        labels = data.labels[direction.rows].tolist()
        click.echo(f"{name}: {max(map(labels.count, labels))} of {len(labels)} images of one class")
    click.echo(f"Picture: {place} (layer {layer}, {len(found)} directions)")
