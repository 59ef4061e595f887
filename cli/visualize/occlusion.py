"""`advkit visualize occlusion`: the parts of the image on which the answer depends."""

from pathlib import Path
from typing import Any

import click
import torch

from advkit.cli._picture import check_place
from advkit.cli.visualize._scene import last_maps, scene
from advkit.core.classify import classify
from advkit.figures import occlusion_sheet
from advkit.insight import convolutions, occlusion


def run(
    layer: str | None,
    size: int | None,
    stride: int | None,
    value: float,
    attack: str | None,
    layout: str,
    output: Path | None,
    model: str,
    **options: Any,
) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-occlusion.png")
    seen = scene(model, **options)
    if layer is None and convolutions(seen.classifier):
        layer = last_maps(seen)
    groups = seen.groups(attack)
    x = torch.cat([group for _, group in groups])
    found = occlusion(seen.classifier, x, size=size, stride=stride, value=value, layer=layer)
    words = [seen.named(guess) for guess in classify(seen.classifier, x).argmax(1).tolist()]
    labels = [f"{word}  {100 * p:.0f} %" for word, p in zip(words, found.clean.tolist(), strict=True)]
    source = f"{seen.source}; attack {attack}" if attack else seen.source
    occlusion_sheet(
        x.cpu(), found, labels=labels, groups=[name for name, _ in groups], layer=layer, value=value,
        wide=layout == "slide", title=seen.title,
        data=source, path=place,
    )  # fmt: skip
    places = found.probability[0].numel()
    click.echo(f"Picture: {place} ({len(x)} images, {places} places of a square of {found.size} pixels)")
