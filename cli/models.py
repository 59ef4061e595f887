"""`advkit models`: the networks with their papers, or the layers of one as in the lecture."""

from typing import Any

from advkit.cli._console import console, percent, say, show, table
from advkit.core.errors import InputError, unknown
from advkit.core.words import fraction
from advkit.models import Card, Overview, count, list_models, overview, robust, shipped, summary
from advkit.models import create_model as create

WIDE = 125
"""Columns that the whole table takes; narrower terminals get fewer of them."""


def run(pattern: str, input_shape: str | None, classes: int | None, width: str | None) -> None:
    """Do what the command says."""
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
        size["width"] = fraction(width)
    return size


def print_table(rows: list[Overview]) -> None:
    """Print a line for each network at its paper's size, with the shipped checkpoint."""
    lines = [_line(row) for row in rows]
    hidden = () if console().width >= WIDE else ("multiply-adds", "licence", "paper")
    headings = [heading for heading in lines[0] if heading not in hidden]
    numbers = ("parameters", "the paper's", "multiply-adds", "input", "error")
    listed = table(*headings, right=numbers, text=("ships for", "paper"))
    for line in lines:
        listed.add_row(*(line[heading] for heading in headings))
    show(listed)
    if hidden:
        say(f"From {WIDE} columns of output on also: {', '.join(hidden)}.")
    for row in (row for row in rows if row.auxiliary):
        say(f"{row.facts.name}: {row.auxiliary:,} parameters more in the classifiers that only training uses.")
    for row in rows:
        for defense, card in robust(row.facts.name).items():
            found = [f"{percent(e)} under {spec}" for spec, e in card.attack_errors.items()]
            found += [f"{percent(e)} not certified ({ball})" for ball, e in card.certified_errors.items()]
            errors = ", ".join(found)
            say(f"{card.name} --weights {defense} ({card.data}): clean error {percent(card.clean_error)}; {errors}.")
    say("At the paper's size; 'ships for': trained weights, their size and their clean error on the test split.")


def _line(row: Overview) -> dict[str, str]:
    """Heading -> text."""
    ships, error = _checkpoint(shipped(row.facts.name))
    return {
        "name": row.facts.name,
        "parameters": f"{row.parameters:,}",
        "the paper's": f"{row.facts.parameters:,}" if row.facts.parameters else "-",
        "multiply-adds": _short(row.multiply_adds),
        "input": "x".join(map(str, row.input_shape)),
        "ships for": ships,
        "error": error,
        "licence": row.facts.licence,
        "paper": f"{row.facts.paper.partition(':')[0]} {row.facts.year}",
    }


def _short(number: int) -> str:
    """15470264320 -> "15.5 G"."""
    return f"{number / 1e9:.3g} G" if number >= 1e9 else count(number)


def _checkpoint(cards: dict[str, Card]) -> tuple[str, str]:
    """The data sets of the shipped checkpoints with their sizes, and their clean errors."""
    sizes = ", ".join(f"{data} ({count(card.parameters)})" for data, card in cards.items())
    return sizes or "-", ", ".join(percent(card.clean_error) for card in cards.values()) or "-"


def print_layers(name: str, size: dict[str, Any]) -> None:
    """Print every layer with its output, as in the lecture."""
    import torch

    with torch.device("meta"):  # counted, never allocated
        classifier = create(name, **size)
    rows = summary(classifier)
    layers = table("layer", "kind", "output", "parameters", "multiply-adds", right=("parameters", "multiply-adds"))
    for row in rows:
        output = row.text.rpartition(", ")[0]
        used = f"{row.multiply_adds:,}" if row.multiply_adds else ""
        layers.add_row(row.name, row.kind, output, f"{row.parameters:,}" if row.parameters else "", used)
    card = classifier.card
    shape = "x".join(map(str, card.input_shape or ()))
    say(f"{card.describe()}; images {shape}, {card.num_classes} classes. {card.paper}")
    show(layers)
    total = sum(row.multiply_adds for row in rows)
    say(f"Together {card.parameters:,} parameters, {total:,} multiply-adds an image.")
