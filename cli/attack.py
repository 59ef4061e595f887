"""`advkit attack`: one attack on one model, with the figures that say how far to believe it."""

from pathlib import Path
from typing import Any

import click
import torch

from advkit.attacks import FGSM, Attack, smallest, transfer
from advkit.cli._attack_options import build_attack, derived_options
from advkit.cli._attack_output import Half, print_json, print_report
from advkit.cli._console import progress_bar
from advkit.cli._options import Eps, check_device, shared
from advkit.cli._picture import NAME, check_place, draw
from advkit.core.errors import InputError
from advkit.core.registry import parse_spec
from advkit.data import DATASETS, Dataset, load_data, registered
from advkit.defenses import Transformed
from advkit.evaluation import evaluate
from advkit.evaluation.measure.asked import EPS, noise_like
from advkit.evaluation.measure.report import finite
from advkit.models import Classifier, create_model, list_models, load_model

MINIMAL_COUNT = 100
"""Images by default for a minimal attack, which takes hundreds of passes each."""

HALF_COUNT = 200
"""Images for the eps at which half fall: enough for a median, at a tenth of the time of all."""


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
    help="A network (advkit models), torchvision:NAME, package.module:factory, or a weights file of advkit train.",
)
@shared("weights", "data", "split", "data-root", "download")
@click.option("--image-size", type=click.IntRange(min=1), help="Side of a folder's images. [what the network takes]")
@click.option(
    "--resize", type=click.IntRange(min=1), help="Their shorter side before the centre is cut. [--image-size]"
)
@click.option(
    "--count", type=int, metavar="N", help="Take N images, a fixed random choice. [all; minimal attacks: 100]"
)
@click.option("--attack", default="fgsm", show_default=True, help='A name or a spec: "pgd(eps=8/255, steps=40)".')
@click.option("--eps", type=Eps(), help="Radius in units of the pixels: 0.007 or 8/255. [linf: .1, l2: 1, l1: 10]")
@click.option("--norm", help="linf, l2, l1 as the attack allows. [the attack's own]")
@click.option(
    "--transform", metavar="SPEC", help='Put a transform before the network: "bit_depth(3)", jpeg, median ...'
)
@click.option(
    "--adaptive/--no-adaptive",
    default=True,
    show_default=True,
    help="With --transform: attack through it, or ignore it as a naive attack does (both figures are shown).",
)
@click.option("--target", metavar="CLASS", help="Class to reach: a name, a number, runner_up, random or all.")
@click.option(
    "--stop",
    type=click.Choice(["fooled", "never"]),
    default="fooled",
    show_default=True,
    help="Leave an image at its first adversarial point, or go on to the strongest.",
)
@shared("seed")
@click.option("--batch-size", type=click.IntRange(min=1), default=250, show_default=True, help="Images at once.")
@shared("device", "threads")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option(
    "--output", type=click.Path(path_type=Path), help=f"File or folder of the picture. [{NAME}; --json: none]"
)
@click.option("--no-picture", is_flag=True, help="Draw no picture.")
def command(
    model: str | None,
    weights: str | None,
    data: str,
    split: str,
    data_root: str | None,
    download: bool,
    image_size: int | None,
    resize: int | None,
    count: int | None,
    attack: str,
    eps: float | None,
    norm: str | None,
    transform: str | None,
    adaptive: bool,
    target: str | None,
    stop: str,
    seed: int,
    batch_size: int,
    device: str,
    threads: int | None,
    as_json: bool,
    output: Path | None,
    no_picture: bool,
    **hyperparameters: Any,
) -> None:
    """Attack a model and say how often it is wrong, clean and attacked.

    The errors come with 95 % intervals and beside random noise of the same size; an adversarial error is a lower bound.
    """
    if model is None:
        raise InputError("give --model NAME, such as --model lenet5: advkit models lists them")
    if threads is not None:
        torch.set_num_threads(threads)
    check_device(device)
    attacker = with_radius(attack, {"eps": eps, "norm": norm, **hyperparameters})
    place = None if no_picture or (as_json and output is None) else check_place(output)
    where = {"split": split, "root": data_root, "download": download}
    if weights == "random" and model.partition("(")[0].strip() in list_models():
        classifier, images = untrained(model, data, device, image_size, resize, **where)
    else:
        classifier = load_model(model, data=checkpoint(data), weights=weights, device=device)
        images = load_images(data, classifier, image_size, resize, **where)
    aim = parse_target(target, images)
    judged: Any = classifier if transform is None else Transformed(classifier, transform).eval()
    naive = transform is not None and not adaptive
    with progress_bar(attacker.name) as progress:
        report = evaluate(
            judged,
            images,
            [transfer(attacker, classifier) if naive else attacker],
            control=noise_like(attacker),
            target=aim,
            count=MINIMAL_COUNT if count is None and attacker.kind == "minimal" else count,
            seed=seed,
            stop=stop,
            batch_size=batch_size,
            progress=progress,
        )
    device = str(classifier.normalize.mean.device)
    if as_json:
        print_json(report, model, classifier, device=device)
    else:
        half = half_search(judged, images, report.count, seed, batch_size)
        print_report(report, classifier, images, half=half, device=device)
        if naive:
            honest = evaluate(judged, images, [attacker], target=aim, count=report.count, seed=seed, stop=stop)
            click.echo(
                f"This attack ignored {transform}, so its figure says nothing about robustness: the same attack "
                f"through the transform errs on {100 * honest.adversarial_error:.2f} %."
            )
        elif transform is not None:
            click.echo(f"The network stands behind {transform}; the attack goes through it (adaptive).")
    if place is not None:
        shown = draw(place, report, classifier, attacker, images, target=aim)
        click.echo(f"Picture: {place} ({shown} images)", err=as_json)


def with_radius(text: str, given: dict[str, Any]) -> Attack:
    """The attack that the user asked for; a budget attack without eps gets the default of its norm."""
    attacker = build_attack(text, given)
    if attacker.kind == "budget" and getattr(attacker, "eps", None) is None:
        return build_attack(text, {**given, "eps": EPS.get(attacker.norm, 0.1)})
    return attacker


def checkpoint(data: str) -> str | None:
    """Which shipped weights suit these data: their own; for MNIST and a folder of images the default's (None).

    Raises:
        UnknownNameError: no such data; said before weights are missed.
    """
    DATASETS.factory(registered(data))
    return None if data == "mnist" or data.startswith("folder:") else data


def untrained(
    model: str, data: str, device: str, image_size: int | None, resize: int | None, **where: Any
) -> tuple[Classifier, Dataset]:
    """A registered network with random weights, for images of the data's shape and so many classes; and the data.

    What the spec of the model says itself stands.
    """
    with torch.device("meta"):  # costs nothing, and knows what a folder's images are to be resized to
        plan = create_model(model)
    images = load_images(data, plan, image_size, resize, **where)
    fit: dict[str, Any] = {"input_shape": images.input_shape, "num_classes": len(images.classes)}
    given = parse_spec(model).options
    fit = {name: value for name, value in fit.items() if name not in given}
    return load_model(model, weights="random", device=device, **fit), images


def load_images(data: str, classifier: Classifier, image_size: int | None, resize: int | None, **where: Any) -> Dataset:
    """The data set; images of a folder in the size and the colours that the network takes.

    Raises:
        InputError: no such data, or a size for data that have one.
    """
    if not data.startswith("folder:"):
        if image_size is not None or resize is not None:
            raise InputError(f"--image-size and --resize are for folder:PATH: the images of {data} have their size")
        return load_data(data, **where)
    channels, height, width = classifier.card.input_shape or (3, 0, 0)
    own = height if height and height == width else None
    return load_data(data, size=image_size or own, resize=resize, grey=channels == 1, **where)


def parse_target(text: str | None, data: Dataset) -> str | int | None:
    """A class by its name or number, or one of the attacks' words.

    Raises:
        InputError: none of them.
    """
    if text is None:
        return None
    if text in data.classes:
        return data.classes.index(text)
    number = int(text) if text.isdecimal() else None
    if text.startswith("-") or (number is not None and number >= len(data.classes)):
        raise InputError(f"--target: expected a class from 0 to {len(data.classes) - 1}, got {text}")
    return text if number is None else number


def half_search(classifier: Any, data: Dataset, count: int, seed: int, batch_size: int) -> Half:
    """The least eps along the direction of FGSM, on some of the images."""
    report = evaluate(
        classifier, data, [smallest(FGSM())], count=min(count, HALF_COUNT), seed=seed, batch_size=batch_size
    )
    return Half(finite(report.attacks[0].median_distance), report.count)
