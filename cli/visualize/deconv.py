"""`advkit visualize deconv`: from activations back to the pixels."""

from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from advkit.cli._picture import check_place
from advkit.cli.commands.visualize import METHODS
from advkit.cli.visualize._scene import Scene, last_maps, scene
from advkit.data import Dataset
from advkit.figures import projection_sheet, top_sheet
from advkit.insight import activity, deconv, maps, top_activations

STRONGEST = 6
"""Number of maps that are drawn by default."""


def run(
    layer: str | None,
    units: tuple[int, ...],
    top: int,
    method: str,
    images: int,
    attack: str | None,
    layout: str,
    output: Path | None,
    model: str,
    **options: Any,
) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-deconv.png")
    seen = scene(model, **options)
    layer = layer or last_maps(seen)
    if top and not attack:
        drawn = draw_top(seen, seen.part(images), layer, list(units), top, method, place)
    else:
        drawn = draw_images(seen, layer, units[0] if units else None, attack, layout, place)
    click.echo(f"Picture: {place} (layer {layer}, {drawn})")


def draw_top(seen: Scene, data: Dataset, layer: str, units: list[int], top: int, method: str, place: Path) -> str:
    """Draw the top images of the given maps, by default of the strongest maps."""
    if not units:
        largest = activity(seen.classifier, data, layer=layer).largest
        units = largest.argsort(descending=True)[:STRONGEST].sort().values.tolist()
    tops = top_activations(seen.classifier, data, layer=layer, units=units, count=top)
    spatial = maps(seen.classifier, seen.x[:1], layer=layer).ndim == 4  # a unit of a linear layer has no position
    backs = []
    for found in tops:
        x = data[found.rows][0].to(seen.x)
        made: list[Tensor] = []
        for one, (row, column) in zip(x, found.positions.tolist(), strict=True):
            where: Any = (row, column) if spatial else "strongest"
            made.append(
                deconv(seen.classifier, one[None], layer=layer, unit=found.unit, position=where, method=method).cpu()
            )
        backs.append(torch.cat(made))
    top_sheet(tops, data, backs, method=method, title=seen.title, path=place)
    return f"{len(tops)} units, {len(tops[0].values)} images each"


def draw_images(seen: Scene, layer: str, unit: int | None, attack: str | None, layout: str, place: Path) -> str:
    """Draw one image of each class, with its strongest activation projected by three methods."""
    rows = []
    for name, x in seen.groups(attack):
        made = {m: deconv(seen.classifier, x, layer=layer, unit=unit, method=m).cpu() for m in METHODS}
        rows.append((name, x.cpu(), made))
    which = "strongest activation of all maps" if unit is None else f"strongest activation of map {unit}"
    source = f"{seen.source}; attack {attack}" if attack else seen.source
    projection_sheet(
        rows, labels=seen.labels, layer=layer, unit=which, wide=layout == "slide", title=seen.title, data=source,
        path=place,
    )  # fmt: skip
    return f"{len(seen.x)} images"
