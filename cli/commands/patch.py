"""`advkit patch`: its options."""

from typing import Any

import click

from advkit.cli._derived import option
from advkit.cli._many import ManyCommand, many
from advkit.cli._options import Name, UserPath, shared
from advkit.cli._perform import perform
from advkit.cli._sources import fields_of

NAME = "advkit-patch.png"
"""The picture of the patch, where no other name is given."""

OWN = ("eps", "norm", "target", "shared", "steps")
"""Fields of the attack that are no derived options: explained below, or the same for every data set."""


class PatchCommand(ManyCommand):
    """The command with the hyperparameters of the attack `patch` as options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options, the derived ones, --help."""
        own = super().get_params(ctx)
        fields = fields_of("advkit.attacks.patch.patch", "Patch")
        derived = [option(name, {"": field}) for name, field in fields.items() if name not in OWN]
        return [*own[: len(self.params)], *derived, *own[len(self.params) :]]


@click.command(cls=PatchCommand)
@click.option("--model", type=Name("model"), help="A network, as for advkit attack.")
@shared("weights", "data", "split", "data-root", "download", "classes")
@click.option("--image-size", type=click.IntRange(min=1), help="Side of a folder's images. [what the network takes]")
@click.option(
    "--resize", type=click.IntRange(min=1), help="Scale the shorter side of an image to this, then cut out the centre."
)
@click.option("--count", type=int, default=1000, show_default=True, metavar="N", help="Take N images at random.")
@click.option("--target", metavar="CLASS", help="Class to reach: a name or a number. [any but the right one]")
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True, help="Passes over the first half.")
@many("--places", text="Places to judge: random, centre, top_left, ... [all]")
@many("--sizes", text="Shares of the area to judge. [half of --size, --size, twice that]", kind=float)
@shared("seed")
@click.option("--batch-size", type=click.IntRange(min=1), default=50, show_default=True, help="Images a step.")
@shared("device", "threads")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--output", type=UserPath(), help=f"File or folder of the patch, a PNG. [{NAME}; --json: none]")
@click.option("--no-picture", is_flag=True, help="Write no picture.")
def command(**options: Any) -> None:
    """Find one patch that misleads a model wherever it is put, and write it as a PNG.

    It is found on one half of the images. The table shows how often it succeeds on the other half, by place and size.
    """
    perform("patch", options)
