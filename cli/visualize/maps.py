"""`advkit visualize maps`: the output of a layer for images."""

from pathlib import Path
from typing import Any

import click
import torch

from advkit.cli._picture import check_place
from advkit.cli.visualize._scene import scene
from advkit.core.errors import InputError
from advkit.figures import maps_sheet
from advkit.insight import convolutions, maps


def run(
    layer: str | None, units: tuple[int, ...], attack: str | None, output: Path | None, model: str, **options: Any
) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-maps.png")
    seen = scene(model, **options)
    layer = layer or next(iter(convolutions(seen.classifier)), None)
    if layer is None:
        raise InputError("expected a network with convolutions, got one without: give --layer")
    groups = [(name, x, maps(seen.classifier, x, layer=layer)) for name, x in seen.groups(attack)]
    images, found, labels = [], [], []
    for i, label in enumerate(seen.labels):
        for name, x, activations in groups:
            images.append(x[i].cpu())
            found.append(activations[i].cpu())
            labels.append(f"{label}\n{name}" if attack else label)
    source = f"{seen.source}; attack {attack}" if attack else seen.source
    stacked = torch.stack(found)
    maps_sheet(
        torch.stack(images), stacked, layer=layer, labels=labels, units=units, title=seen.title, data=source, path=place
    )
    click.echo(f"Picture: {place} (layer {layer}, {stacked.shape[1]} maps of {len(seen.x)} images)")
