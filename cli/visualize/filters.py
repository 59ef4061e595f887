"""`advkit visualize filters`: kernels of a layer; dead, dominating and silent ones are listed."""

from pathlib import Path
from typing import Any

import click
from torch import Tensor

from advkit.cli._picture import check_place
from advkit.cli.visualize._scene import scene
from advkit.figures import filters_sheet
from advkit.insight import activity, filters


def run(layer: str | None, each: bool, images: int, output: Path | None, model: str, **options: Any) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-filters.png")
    seen = scene(model, **options)
    found, data = filters(seen.classifier, layer), seen.part(images)
    silent = activity(seen.classifier, data, layer=found.layer).dead
    name = f"{data.name} {data.split} ({len(data):,} images)"
    filters_sheet(found, together=not each, silent=silent, title=seen.title, data=name, path=place)
    click.echo(seen.title)
    for word, mask in (("dead", found.dead), ("dominating", found.dominating), (f"silent on {name}", silent)):
        click.echo(f"{word}: {numbers(mask)}")
    click.echo(f"Picture: {place} (layer {found.layer}, {len(found.kernels)} filters)")


def numbers(mask: Tensor) -> str:
    """Return the positions at which a mask is true."""
    return ", ".join(map(str, mask.nonzero()[:, 0].tolist())) or "none"
