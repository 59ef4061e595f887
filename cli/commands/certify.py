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
@shared("weights", "data", "split", "data-root", "download", "classes")
@click.option("--count", type=click.IntRange(min=1), default=COUNT, show_default=True, help="Take the first N images.")
@click.option("--eps", type=Eps(), required=True, help="Radius in units of the pixels: 0.01 or 2/255.")
@click.option(
    "--norm",
    type=click.Choice(["linf", "l2", "l1"]),
    help="Norm of the ball. [linf; l2 with smoothing, which has no other]",
)
@click.option(
    "--method",
    type=click.Choice([*constant("advkit.certification.certify", "METHODS"), "smoothing"]),
    default="crown",
    show_default=True,
    help="How the bounds are made. ibp, crown_ibp, crown and alpha_crown go from loose to tight; exact "
    "decides every image, or says how many it cannot; smoothing certifies another classifier, the network "
    "under Gaussian noise.",
)
@click.option("--sigma", type=click.FloatRange(min=0, min_open=True), help="Standard deviation of smoothing's noise.")
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    help="Number of noisy copies of each image that smoothing looks at. [10000]",
)
@click.option(
    "--alpha",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    help="Probability, for each image, that smoothing's certificate is wrong. [0.001]",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that crown, alpha_crown or exact spends on each image. [no limit; 60 for exact]",
)
@click.option("--nodes", type=click.IntRange(min=1), help="Parts of the ball that exact bounds for each image. [20000]")
@shared("seed")
@shared("device", "threads")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(**options: Any) -> None:
    """Bound the error under any attack within eps from below and above.

    The lower bound is what PGD finds; the upper bound is what is not certified.
    """
    perform("certify", options)
