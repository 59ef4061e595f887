"""`advkit reproduce`: its options."""

from typing import Any

import click

from advkit.cli._options import MOST, UserPath, shared
from advkit.cli._perform import perform


@click.command()
@click.argument("name", required=False)
@click.option(
    "--budget", default="small", show_default=True, metavar="[small|paper]", help="How much is spent: see below."
)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Number of seeds, from 0 up.")
@click.option("--output", type=UserPath(), help="Folder of the run. [runs/reproduce/NAME-BUDGET]")
@click.option("--workers", type=click.IntRange(1, MOST), help="Number of processes, of one thread each. [the cores]")
@click.option("--data", metavar="SPEC", help="Your own labelled images, for studies that bring none.")
@click.option("--model", metavar="SPEC", help="Your own trained network, for studies that train none; + for more.")
@click.option("--weights", metavar="FILE", help="Weights of your network.")
@shared("device")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(**options: Any) -> None:
    """Reproduce the tables of the paper NAME beside its printed figures; without NAME, list the papers.

    Each of the paper's claims is tested: confirmed, contradicted or left open. "small" takes minutes on two cores with
    the embedded digits; "paper" is the paper's own size. The same command continues a stopped run.
    """
    perform("reproduce", options)
