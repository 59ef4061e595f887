"""`advkit visualize layers`: how far adversarial images and noise move the activations of each layer."""

from pathlib import Path
from typing import Any

import click

from advkit.cli._console import show, table
from advkit.cli._picture import check_place
from advkit.cli.visualize._scene import scene
from advkit.figures import movement_chart
from advkit.insight import movement


def run(
    attack: str, names: tuple[str, ...], seed: int, output: Path | None, model: str, **options: Any
) -> None:  # fmt: skip
    """Do what the command says."""
    place = check_place(output, "advkit-layers.png")
    seen = scene(model, seed=seed, **options)
    found = movement(seen.classifier, seen.x, seen.adversarial(attack), layers=names or None, seed=seed)
    data = f"{len(seen.x)} images of {seen.data.name} {seen.data.split}; attack {attack}; noise of seed {seed}"
    movement_chart(found, title=seen.title, data=data, path=place)
    middle = [found.adversarial.median(1).values.tolist(), found.noise.median(1).values.tolist()]
    listed = table("layer", "adversarial", "noise", "times", right=("adversarial", "noise", "times"))
    for name, moved, noise in zip(found.layers, *middle, strict=True):
        listed.add_row(name, f"{moved:.4f}", f"{noise:.4f}", f"{moved / noise:.1f}" if noise else "-")
    show(listed)
    click.echo(f"Picture: {place} ({len(seen.x)} images)")
