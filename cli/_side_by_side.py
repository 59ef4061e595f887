"""The options of the commands that compare networks."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from advkit.cli._options import Name, shared

F = TypeVar("F", bound=Callable[..., Any])


def side_by_side(function: F) -> F:
    """Decorator: the options that these commands share."""
    decorators: list[Callable[[Any], Any]] = [
        click.option(
            "--models",
            "--model",
            "models",
            multiple=True,
            type=Name("model"),
            help="One network or several: lenet5 mlp.",
        ),
        shared("weights", "data", "split", "data-root", "download"),
        click.option("--image-size", type=click.IntRange(min=1), help="Side of a folder's images."),
        click.option(
            "--resize",
            type=click.IntRange(min=1),
            help="Scale the shorter side of an image to this, then cut out the centre.",
        ),
        click.option("--count", type=int, metavar="N", help="Take N images, a fixed random choice."),
        shared("seed"),
        click.option(
            "--batch-size",
            type=click.IntRange(min=1),
            default=250,
            show_default=True,
            help="Number of images in a batch.",
        ),
        shared("device", "threads"),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."),
        click.option("--no-picture", is_flag=True, help="Draw no picture."),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function
