"""`advkit visualize`: its commands and their options."""

from collections.abc import Callable
from typing import Any

import click

from advkit.cli._options import Name, UserPath, picture, shared
from advkit.cli._perform import perform

METHODS = ("deconv", "guided", "gradient")


@click.group()
def command() -> None:
    """Draw the inner workings of a network.

    \b
    advkit visualize filters --model lenet5
    advkit visualize occlusion --model lenet5 --attack "fgsm(eps=0.1)"
    """


def add(name: str, *options: Callable[[Any], Any], more: str = "") -> Callable[[Any], click.Command]:
    """Decorator that adds the command `advkit visualize NAME` with these options; the docstring is its help."""

    def register(function: Any) -> click.Command:
        def call(**given: Any) -> None:
            perform(f"visualize.{name}", given)

        call.__doc__ = function.__doc__
        place = picture(f"advkit-{name}.png", more)
        for option in reversed((*options, place)):
            call = option(call)
        made = click.command(name)(call)
        command.add_command(made)
        return made

    return register


def model_option(default: str = "lenet5") -> Callable[[Any], Any]:
    """The network."""
    return click.option(
        "--model",
        type=Name("model"),
        default=default,
        show_default=True,
        help="A network (advkit models), torchvision:NAME, timm:NAME, package.module:factory, or a weights file.",
    )


def count_option(default: int, most: int = 20) -> Callable[[Any], Any]:
    """The number of images to draw."""
    return click.option(
        "--count",
        type=click.IntRange(1, most),
        default=default,
        show_default=True,
        help="Number of images, one a class.",
    )


images_options = (
    shared("weights", "data", "split", "data-root", "download"),
    click.option("--image-size", type=click.IntRange(min=1), help="Side of a folder's images. [the network's]"),
    click.option(
        "--resize",
        type=click.IntRange(min=1),
        help="Scale the shorter side of an image to this, then cut out the centre.",
    ),
)
first_option = click.option(
    "--first", type=click.IntRange(0), default=0, show_default=True, help="Number of images to pass over."
)
scan_option = click.option(
    "--images", type=click.IntRange(1), default=1000, show_default=True, help="Number of images to look through."
)
layer_option = click.option(
    "--layer", metavar="NAME", help="A layer by its module's name, such as features.c3. [chosen by the command]"
)
units_option = click.option(
    "--unit",
    "units",
    type=click.IntRange(0),
    multiple=True,
    help="Number of a map or unit; may be given several times.",
)
attack_option = click.option(
    "--attack",
    type=Name("attack"),
    metavar="SPEC",
    help='Draw the adversarial images of this attack beside the clean ones: "fgsm(eps=0.1)".',
)
layout_option = click.option(
    "--layout",
    type=click.Choice(("page", "slide")),
    default="page",
    show_default=True,
    help="Place of the adversarial images: below the clean ones, or beside them.",
)
SCENE = (*images_options, first_option, shared("device"))


@add("filters", model_option(), *SCENE, scan_option, layer_option,
     click.option("--each", is_flag=True, help="Scale every filter by itself. [one scale for all]"))  # fmt: skip
def filters() -> None:
    """Draw the kernels of a convolution, by default the first one.

    Dead, dominating and silent filters are marked and listed.
    """


@add("maps", model_option(), count_option(4), *SCENE, layer_option, units_option, attack_option, shared("seed"))
def maps() -> None:
    """Draw the output of a layer for images, by default of the first convolution."""


@add("deconv", model_option(), count_option(6), *SCENE, scan_option, layer_option, units_option,
     click.option("--top", type=click.IntRange(0, 20), default=9, show_default=True,
                  help="Number of images for each map; 0: draw --count images, one a class, instead."),
     click.option("--method", type=click.Choice(METHODS), default="deconv", show_default=True,
                  help="How the signal goes back below the top images."),
     attack_option, layout_option, shared("seed"))  # fmt: skip
def deconv() -> None:
    """Project activations back to the pixels, by Zeiler and Fergus's deconvolution network.

    It shows the images that excite maps most, the patches that the maps see, and their projections. --attack or
    --top 0 shows one image of each class, with deconvolution, guided and plain gradients below each other.
    """


@add("occlusion", model_option(), count_option(6), *SCENE, layer_option,
     click.option("--size", type=click.IntRange(1), help="Side of the square in pixels. [a quarter of the image]"),
     click.option("--stride", type=click.IntRange(1), help="Pixels from place to place. [a quarter of the square]"),
     click.option("--value", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Colour of the square."),
     attack_option, layout_option, shared("seed"))  # fmt: skip
def occlusion() -> None:
    """Draw the probability of the class, and the strongest map, while a square moves over the image."""


@add("correspondence", model_option(), count_option(5), *SCENE,
     click.option("--part", "given", multiple=True, metavar="NAME=TOP,LEFT,BOTTOM,RIGHT",
                  help="A part that lies at the same place of every image, in pixels; may be given several times."),
     click.option("--parts", "file", type=UserPath(), metavar="FILE",
                  help="CSV file: image,part,top,left,bottom,right; the image is a number or a file name."),
     click.option("--class", "label", metavar="NAME", help="Class of the images that --part is for. [the first one]"),
     click.option("--layer", "layers", multiple=True, metavar="NAME",
                  help="A layer; may be given several times. [the last convolution and the last hidden layer]"),
     click.option("--random", type=click.IntRange(0, 1000), default=20, show_default=True,
                  help="Number of sets of random boxes."),
     click.option("--value", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Colour of the boxes."),
     shared("seed"))  # fmt: skip
def correspondence() -> None:
    """Whether hiding the same part of different objects changes a layer alike, against random boxes.

    Zeiler and Fergus 2013, sec. 4.3: the distance is the share of a layer's entries whose changes have different signs.
    """


@add("examples", model_option(), count_option(6), *SCENE, attack_option, shared("seed"))
def examples() -> None:
    """Draw images with their five likeliest classes as bars."""


@add("robustness", model_option(), count_option(4), *SCENE)
def robustness() -> None:
    """Draw images tilted, darkened, blurred and with a colour cast, each with its five likeliest classes."""


@add("stn", model_option("stn_cnn"), shared("weights", "data", "split", "data-root", "download"), count_option(6),
     attack_option,
     click.option("--motion", type=click.IntRange(2, 100), metavar="FRAMES",
                  help="Let the objects go round in this many positions: a film, .gif, or a picture of one image's."),
     shared("seed", "device"), more="; with --motion .gif")  # fmt: skip
def stn() -> None:
    """Draw images, the sampling grid of a spatial transformer on them, and its output.

    Parallel transformers get a grid and an output each.
    """


@add("colocalise",
     click.option("--weights", metavar="FILE", help="Weights of advkit.insight.train_colocaliser. [those that ship]"),
     click.option("--count", type=click.IntRange(1, 20), default=8, show_default=True, help="Images to draw."),
     shared("seed"))  # fmt: skip
def colocalise() -> None:
    """Draw the boxes that a transformer finds around cluttered digits, and their overlap with the true boxes.

    It was trained to find which images show the same digit, without boxes (Jaderberg et al. 2015, appendix A.2).
    """


@add("augment", shared("data", "split", "data-root", "download"),
     click.option("--image-size", type=click.IntRange(min=1), help="Side of the images of a folder. [as they are]"),
     click.option("--augment", "specs", multiple=True, metavar="SPEC",
                  help='One row, such as "patch(size=28) + mirror"; may be given several times. [every augmentation]'),
     click.option("--count", type=click.IntRange(1, 20), default=6, show_default=True, help="Images, one a column."),
     shared("seed"))  # fmt: skip
def augment() -> None:
    """Draw images, and the result of each augmentation."""


@add("directions", model_option(), count_option(8), *SCENE, scan_option, layer_option, units_option,
     click.option("--random", type=click.IntRange(0, 10), default=3, show_default=True,
                  help="Number of random directions."),
     shared("seed"))  # fmt: skip
def directions() -> None:
    """Draw the images that most excite single units, and random combinations of units (Szegedy et al. 2013, sec. 3).

    The default units are those with the largest activations in the last hidden layer.
    """


@add("layers", model_option(), count_option(100, 1000), *SCENE,
     click.option("--attack", type=Name("attack"), default="fgsm(eps=0.1)", show_default=True, metavar="SPEC",
                  help="The attack."),
     click.option("--layer", "names", multiple=True, help="A layer; may be given several times. [all]"),
     shared("seed"))  # fmt: skip
def layers() -> None:
    """Draw how far an attack moves the activations of every layer, compared with noise of the same size."""


@add("lipschitz", model_option(), *SCENE)
def lipschitz() -> None:
    """Draw the l2 operator norm of every layer, beside the values of Szegedy et al. (2013, sec. 4.3) for AlexNet."""
