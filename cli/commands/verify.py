"""`advkit verify`: its options."""

from typing import Any

import click

from advkit.cli._perform import perform


@click.command()
@click.argument("run", metavar="RUN|CARD")
@click.option("--beside", metavar="RUN", help="The run from which a card was made: every figure is made again from it.")
@click.option("--again", type=click.IntRange(1), metavar="N", help="Attack N batches of a card once more, and compare.")
@click.option("--model", metavar="NAME", help="The model to attack again. [default: the one that the card names]")
@click.option("--weights", metavar="FILE", help="Its weights. Default: the checkpoint that ships with advkit.")
@click.option("--data-root", metavar="DIR", help="Where data sets lie. [default: $ADVKIT_DATA or the cache]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(**options: Any) -> None:
    """Check every file of a run of advkit evaluate against its digest, or check a card of advkit card.

    A card is checked by itself: digest, sums, intervals. --beside checks it against its run, --again against the model.
    The exit code is 2 if something is wrong; advkit evaluate ... --resume repeats missing and damaged batches.
    """
    perform("verify", options)
