"""`advkit universal`: its options."""

from typing import Any

import click

from advkit.cli._options import Eps, Name, UserPath, shared
from advkit.cli._perform import perform

NAME = "advkit-universal.png"
"""The picture of the perturbation, where no other name is given."""


@click.command
@click.option("--model", type=Name("model"), help="A network, as for advkit attack.")
@shared("weights", "data", "split", "data-root", "download", "classes")
@click.option("--image-size", type=click.IntRange(min=1), help="Side of a folder's images. [what the network takes]")
@click.option(
    "--resize", type=click.IntRange(min=1), help="Scale the shorter side of an image to this, then cut out the centre."
)
@click.option("--count", type=int, default=1000, show_default=True, metavar="N", help="Take N images at random.")
@click.option("--eps", type=Eps(), help="Radius in units of the pixels: 0.04 or 10/255. [linf: .1, l2: 1, l1: 10]")
@click.option("--norm", default="linf", show_default=True, help="linf, l2 or l1.")
@click.option("--target", metavar="CLASS", help="Class to reach: a name or a number. [any but the right one]")
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True, help="Passes over the first half.")
@click.option("--step-size", type=Eps(), help="Length of the first step in units of the pixels. [--eps]")
@click.option("--loss", default="cross_entropy", show_default=True, help="The loss that the steps increase.")
@shared("seed")
@click.option("--batch-size", type=click.IntRange(min=1), default=50, show_default=True, help="Images a step.")
@shared("device", "threads")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--output", type=UserPath(), help=f"File or folder of the picture, a PNG. [{NAME}; --json: none]")
@click.option("--no-picture", is_flag=True, help="Write no picture.")
def command(**options: Any) -> None:
    """Find one perturbation that misleads a model on most images, and draw it.

    It is found on one half of the images and judged on the other, beside random noise of the same size.
    """
    perform("universal", options)
