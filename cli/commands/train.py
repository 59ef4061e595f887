"""`advkit train`: its options."""

from typing import Any

import click

from advkit.cli._derived import option
from advkit.cli._options import MOST, Name, UserPath, shared
from advkit.cli._perform import perform
from advkit.cli._sources import fields_of

OWN = ("model", "data", "defense", "seed", "expected", "options", "augment", "input_shape", "num_classes")
"""Fields of a recipe that are no derived options: explained below, or following from model and data."""


class TrainCommand(click.Command):
    """The command with the fields of a recipe as options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options, the derived ones, --help."""
        own = super().get_params(ctx)
        recipe = fields_of("advkit.training._recipe", "Recipe")
        derived = [option(name, {"": field}) for name, field in recipe.items() if name not in OWN]
        return [*own[: len(self.params)], *derived, *own[len(self.params) :]]


@click.command(cls=TrainCommand, epilog="In brackets: the default where the recipe says nothing else.")
@click.option(
    "--model", type=Name("model"), help='A network (advkit models) or "NAME(option=value)"; default: the recipe\'s.'
)
@click.option(
    "--data",
    type=Name("data set"),
    help="A data set (advkit data) or folder:PATH; default: the recipe's, else mnist5k.",
)
@click.option("--recipe", "recipe_name", metavar="NAME", help="MODEL-DATA; default: the one of model and data.")
@click.option(
    "--recipes", "listed", is_flag=True, help="List the recipes, their networks' options and results; train nothing."
)
@click.option(
    "--defense",
    type=Name("defense", "attack"),
    metavar="SPEC",
    help='Train on a defence\'s loss, such as "fgsm(eps=0.25, alpha=0.5)".',
)
@click.option("--augment", metavar="SPEC", help='Changes of the images, such as "patch(size=28) + mirror"; or none.')
@shared("data-root", "download", "classes")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of weights, order, augmentation and dropout. [the recipe's]"
)
@click.option("--output", type=UserPath(), metavar="DIR", help="Folder of the run. [runs/MODEL-DATA]")
@click.option("--resume", is_flag=True, help="Go on with the run in that folder where it was last saved.")
@click.option(
    "--save-seconds",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Save within an epoch, too, after this many seconds.",
)
@click.option(
    "--log",
    type=click.Choice(["csv", "tensorboard"]),
    default="csv",
    show_default=True,
    help="log.csv, or TensorBoard's files beside it.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, MOST),
    default=0,
    show_default=True,
    help="Processes that read images from the disk.",
)
@click.option(
    "--probe",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="With --defense: images on which FGSM and PGD-10 are tried after each epoch; 0: none.",
)
@shared("device", "threads")
def command(**options: Any) -> None:
    """Train a network by a recipe; every option of the recipe can be changed.

    The folder of the run holds the weights (model.safetensors), the log and the recipe; attack it with advkit attack
    --model MODEL --weights DIR. Several GPUs or machines: torchrun --nproc-per-node 4 -m advkit train ...
    """
    perform("train", options)
