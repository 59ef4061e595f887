"""`advkit attack`: its options."""

from typing import Any

import click

from advkit.cli._derived import derived_options
from advkit.cli._options import Eps, Name, picture, shared
from advkit.cli._perform import perform

NAME = "advkit-attack.png"
"""The picture, where no other name is given."""


class AttackCommand(click.Command):
    """The command with the options of all attacks."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options, the derived ones, --help."""
        own = super().get_params(ctx)
        taken = {parameter.name for parameter in own}
        derived = [option for option in derived_options() if option.name not in taken]
        return [*own[: len(self.params)], *derived, *own[len(self.params) :]]


@click.command(
    cls=AttackCommand, epilog="In brackets: the attacks that take the option, with what they use without it."
)
@click.option(
    "--model",
    type=Name("model"),
    help="A network (advkit models), torchvision:NAME, onnx:FILE, package.module:factory, or a file of advkit train.",
)
@shared("weights", "data", "split", "data-root", "download", "classes")
@click.option("--image-size", type=click.IntRange(min=1), help="Side of a folder's images. [what the network takes]")
@click.option(
    "--resize",
    type=click.IntRange(min=1),
    help="Scale the shorter side of an image to this, then cut out the centre. [--image-size]",
)
@click.option(
    "--count", type=int, metavar="N", help="Take N images, a fixed random choice. [all; minimal attacks: 100]"
)
@click.option(
    "--attack",
    type=Name("attack"),
    default="fgsm",
    show_default=True,
    help='A name or a spec: "pgd(eps=8/255, steps=40)".',
)
@click.option("--eps", type=Eps(), help="Radius in units of the pixels: 0.007 or 8/255. [linf: .1, l2: 1, l1: 10]")
@click.option("--norm", help="linf, l2, l1 as the attack allows. [the attack's own]")
@click.option(
    "--transform",
    type=Name("transform"),
    metavar="SPEC",
    help='Put a transform before the network: "bit_depth(3)", jpeg, median ...',
)
@click.option(
    "--adaptive/--no-adaptive",
    default=True,
    show_default=True,
    help="With --transform: attack through it, or ignore it as a naive attack does (both figures are shown).",
)
@shared("target", "goal", "verdicts")
@click.option(
    "--stop",
    type=click.Choice(["fooled", "never"]),
    default="fooled",
    show_default=True,
    help="Leave an image at its first adversarial point, or go on to the strongest.",
)
@shared("seed")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=250, show_default=True, help="Number of images in a batch."
)
@shared("device", "threads")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@picture(f"{NAME}; --json: none")
@click.option("--no-picture", is_flag=True, help="Draw no picture.")
def command(**options: Any) -> None:
    """Attack a model, and print its error on clean and on attacked images.

    The errors have 95 % intervals, and random noise of the same size is the control. An adversarial error is a lower
    bound.
    """
    perform("attack", options)
