"""`advkit visualize lipschitz`: operator norms of every layer, beside those of Szegedy et al. for AlexNet."""

from pathlib import Path
from typing import Any

import click

from advkit.certification import LayerStretch, lipschitz
from advkit.cli._console import say, show, table
from advkit.cli._picture import check_place
from advkit.cli.visualize._scene import scene
from advkit.figures import lipschitz_chart

PAPER = {"Conv2d": (20.0, 10.0, 7.0, 7.3, 11.0), "Linear": (3.12, 4.0, 4.0)}
"""Table 5 of Szegedy et al. 2013 for AlexNet's convolutions and fully connected layers, quoted from memory."""


def run(output: Path | None, model: str, **options: Any) -> None:
    """Do what the command says."""
    place = check_place(output, "advkit-lipschitz.png")
    seen = scene(model, **options)
    found = lipschitz(seen.classifier, seen.x)
    lipschitz_chart(found, title=seen.title, data=f"Images {'x'.join(map(str, seen.data.input_shape))}.", path=place)
    numbers = ("norm", "from the image", "AlexNet in the paper")
    listed = table("layer", "kind", *numbers, right=numbers)
    for layer, paper in zip(found.layers, beside(found.layers), strict=True):
        listed.add_row(layer.name, layer.kind, f"{layer.norm:.4g}", f"{layer.constant:.4g}", paper)
    show(listed)
    say(
        "Upper bounds in l2. The paper's are those of AlexNet's layers trained on ImageNet, quoted from memory and set "
        "beside the convolutions and fully connected layers in their order: other networks need not resemble them."
    )
    click.echo(f"Picture: {place} ({len(found.layers)} layers, {found.constant:.4g} from the image to the logits)")


def beside(layers: tuple[LayerStretch, ...]) -> list[str]:
    """Return for each layer the paper's value for the layer of the same kind and rank, or None."""
    left = {kind: iter(values) for kind, values in PAPER.items()}
    kinds = ["Conv2d" if "Conv" in layer.kind else layer.kind for layer in layers]
    return [f"{value:g}" if kind in left and (value := next(left[kind], None)) else "" for kind in kinds]
