"""`advkit certify`: its options."""

from typing import Any

import click

from advkit.cli._options import Eps, Name, shared
from advkit.cli._perform import perform
from advkit.cli._sources import constant

COUNT = 50
"""Images by default: a certificate takes from milliseconds to seconds each."""


@click.command()
@click.option(
    "--model", type=Name("model"), required=True, help="A network (advkit models), torchvision:NAME, or a weights file."
)
@shared("weights", "data", "split", "data-root", "download")
@click.option("--count", type=click.IntRange(min=1), default=COUNT, show_default=True, help="Take the first N images.")
@click.option("--eps", type=Eps(), required=True, help="Radius in units of the pixels: 0.01 or 2/255.")
@click.option(
    "--norm", type=click.Choice(["linf", "l2", "l1"]), default="linf", show_default=True, help="Norm of the ball."
)
@click.option(
    "--method",
    type=click.Choice(constant("advkit.certification.certify", "METHODS")),
    default="crown",
    show_default=True,
    help="How the bounds are made; the loosest first, the tightest last.",
)
@shared("device", "threads")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(**options: Any) -> None:
    """Bound the error under any attack within eps from both sides.

    At least what PGD finds, at most what is not certified.
    """
    perform("certify", options)
