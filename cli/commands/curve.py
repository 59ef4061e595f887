"""`advkit curve`: its options."""

from typing import Any

import click

from advkit.cli._many import ManyCommand
from advkit.cli._options import Name, picture, shared
from advkit.cli._perform import perform
from advkit.cli._side_by_side import side_by_side

NAME = "advkit-curve.png"
"""The picture, where no other name is given."""


@click.command(cls=ManyCommand)
@click.option(
    "--attack",
    type=Name("attack"),
    default="fgsm",
    show_default=True,
    help='A name or a spec: "pgd(steps=20)"; eps is not used.',
)
@shared("target")
@side_by_side
@picture(f"{NAME}; --json: none")
def command(**options: Any) -> None:
    """Draw the error against eps, for one or several models.

    A minimal attack gives the whole curve in one run; for a budget attack, the smallest eps of each image is searched.
    An image counts from its smallest eps on (best over eps' <= eps), so no curve falls.
    """
    perform("curve", options)
