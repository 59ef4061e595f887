"""`advkit models`: the networks beside their papers, or the layers of one as the lecture writes them."""

from typing import Any

import click
from rich.text import Text

from advkit.cli._console import console, percent, table
from advkit.cli._options import number
from advkit.core.errors import InputError, unknown
from advkit.models import Card, Overview, count, list_models, overview, shipped, summary
from advkit.models import create_model as create


@click.command()
@click.argument("pattern", default="*")
@click.option("--input-shape", metavar="C,H,W", help="Show the layers for such images. [the paper's]")
@click.option("--classes", type=click.IntRange(min=2), help="... and so many classes.")
@click.option("--width", metavar="NUMBER", help="... and layers so many times as wide: 0.25 or 1/4.")
def command(pattern: str, input_shape: str | None, classes: int | None, width: str | None) -> None:
    """List the networks whose names match PATTERN, such as "vgg*"; of one full name, the layers."""
    names = list_models(pattern)
    if not names:
        raise unknown("model", pattern, list_models())
    if names == [pattern]:
        print_layers(pattern, _size(input_shape, classes, width))
    elif (input_shape, classes, width) != (None, None, None):
        raise InputError("--input-shape, --classes and --width go with the full name of one network")
    else:
        print_table([overview(name) for name in names])


def _size(input_shape: str | None, classes: int | None, width: str | None) -> dict[str, Any]:
    """The options of `create_model` that were given."""
    size: dict[str, Any] = {}
    if input_shape is not None:
        parts = input_shape.replace("x", ",").split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
            raise InputError(f"--input-shape: expected channels,height,width such as 1,32,32, got {input_shape!r}")
        size["input_shape"] = tuple(int(part) for part in parts)
    if classes is not None:
        size["num_classes"] = classes
    if width is not None:
        size["width"] = number(width)
    return size


def print_table(rows: list[Overview]) -> None:
    """One line a network, at its paper's size, and the checkpoint that ships."""
    numbers = ("parameters", "the paper's", "multiply-adds", "input", "clean error")
    headings = (*numbers[:4], "ships, trained on", "clean error", "licence", "paper")
    listed = table("name", *headings, right=numbers, text=("ships, trained on", "paper"))
    for row in rows:
        listed.add_row(
            row.facts.name,
            _parts(row.parameters, row.auxiliary),
            _parts(row.facts.parameters, row.facts.auxiliary),
            _short(row.multiply_adds),
            "x".join(map(str, row.input_shape)),
            *_checkpoint(shipped(row.facts.name)),
            row.facts.licence,
            f"{row.facts.paper.partition(':')[0]} {row.facts.year}",
        )
    console().print(listed)


def _parts(parameters: int | None, auxiliary: int) -> str:
    """A count, and that of the classifiers that serve in training only; "-" where the paper gives none."""
    if parameters is None:
        return "-"
    return f"{parameters:,} + {auxiliary:,}" if auxiliary else f"{parameters:,}"


def _short(number: int) -> str:
    """15470264320 -> "15.5 G"."""
    return f"{number / 1e9:.3g} G" if number >= 1e9 else count(number)


def _checkpoint(cards: dict[str, Card]) -> tuple[str, str]:
    """The data sets of the shipped checkpoints with their sizes, and their clean errors."""
    sizes = ", ".join(f"{data} ({count(card.parameters)})" for data, card in cards.items())
    return sizes or "-", ", ".join(percent(card.clean_error) for card in cards.values()) or "-"


def print_layers(name: str, size: dict[str, Any]) -> None:
    """Every layer with what it puts out, as the lecture writes them."""
    import torch

    with torch.device("meta"):  # counted, never allocated
        classifier = create(name, **size)
    rows = summary(classifier)
    layers = table("layer", "kind", "output", "parameters", "multiply-adds", right=("parameters", "multiply-adds"))
    for row in rows:
        output = row.text.rpartition(", ")[0]
        used = f"{row.multiply_adds:,}" if row.multiply_adds else ""
        layers.add_row(row.name, row.kind, output, f"{row.parameters:,}" if row.parameters else "", used)
    out, card = console(), classifier.card
    shape = "x".join(map(str, card.input_shape or ()))
    out.print(Text(f"{card.describe()}; images {shape}, {card.num_classes} classes. {card.paper}"))
    out.print(layers)
    total = sum(row.multiply_adds for row in rows)
    out.print(f"Together {card.parameters:,} parameters, {total:,} multiply-adds an image.")
