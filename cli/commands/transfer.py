"""`advkit transfer`: its options."""

from typing import Any

import click

from advkit.cli._many import ManyCommand
from advkit.cli._options import Eps, Name, picture
from advkit.cli._perform import perform
from advkit.cli._side_by_side import side_by_side

NAME = "advkit-transfer.png"
"""The picture, where no other name is given."""


@click.command(cls=ManyCommand)
@click.option(
    "--attack", type=Name("attack"), default="pgd", show_default=True, help='A name or a spec: "fgsm(eps=.1)".'
)
@click.option("--eps", type=Eps(), help="Radius, if the spec names none. [linf: .1, l2: 1, l1: 10]")
@click.option(
    "--ensemble",
    type=click.Choice(["logits", "probabilities", "losses", "gradients"]),
    help="Add a row: the attack on all other models together, these averaged.",
)
@click.option("--target", metavar="CLASS", help="Class to reach, a name or a number: rates then count how often it is.")
@side_by_side
@picture(f"{NAME}; --json: none")
def command(**options: Any) -> None:
    """Test the adversarial images of each model on all others (Szegedy et al. 2013).

    Of the images that both models get right without an attack, each rate counts those that the second gets wrong
    after the attack on the first. The diagonal shows each model under its own attack. With
    --ensemble the last row shows each model the images made on all the others together.
    """
    perform("transfer", options)
