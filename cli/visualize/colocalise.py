"""`advkit visualize colocalise`: the boxes that a transformer finds, beside the true ones."""

from pathlib import Path
from typing import Any

import click

from advkit.cli._picture import check_place
from advkit.core.classify import looking
from advkit.figures import boxes_sheet
from advkit.insight import load_colocaliser, overlap
from advkit.insight.train_colocaliser import found_boxes


def run(weights: str | None, count: int, seed: int, output: Path | None, **_: Any) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-colocalise.png")
    net = load_colocaliser(weights)
    data, found = found_boxes(net, seed=seed)
    x, true = data[:count][0], data.boxes()
    with looking(net):
        crops = net.transformer(x)
    overlaps = overlap(found, true)
    title = f"Co-localiser on {data.name} {data.split}"
    source = f"{data.name} {data.split}, images 0 to {count - 1}"
    boxes_sheet(x, crops, found[:count], true[:count], overlaps[:count], title=title, data=source, path=place)
    share, mean = (overlaps >= 0.5).double().mean().item(), overlaps.mean().item()
    click.echo(f"{100 * share:.1f} % of {len(data):,} digits at an overlap of half or more, mean overlap {mean:.3f}")
    click.echo(f"Picture: {place} ({count} images)")
