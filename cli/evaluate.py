"""`advkit evaluate`: several attacks on one model, into a folder that can be resumed, shared and looked at."""

from pathlib import Path
from typing import Any

import click
import torch

from advkit.attacks import Attack
from advkit.cli._attack_options import build_attack
from advkit.cli._console import progress_bar
from advkit.cli._evaluate_output import print_json, print_report
from advkit.cli._many import ManyCommand, many
from advkit.cli._options import Eps, check_device, shared
from advkit.cli._picture import draw
from advkit.cli._workers import cores, own_device, together, world
from advkit.cli.attack import checkpoint, load_images, parse_target, untrained
from advkit.core.errors import InputError
from advkit.data import Dataset
from advkit.evaluation import Keep, Report, evaluate
from advkit.evaluation.measure.asked import EPS, noise_like
from advkit.models import Classifier, list_models, load_model

EXAMPLES = "examples.png"
"""The picture in the folder of a run: a few images under the first attack."""

DEFAULT = ("fgsm", "pgd")
"""Attacks where none is named."""


@click.command(cls=ManyCommand)
@click.option(
    "--model",
    help="A network (advkit models), torchvision:NAME, package.module:factory, or a weights file of advkit train.",
)
@shared("weights", "data", "split", "data-root", "download")
@click.option("--image-size", type=click.IntRange(min=1), help="Side of a folder's images. [what the network takes]")
@click.option(
    "--resize", type=click.IntRange(min=1), help="Their shorter side before the centre is cut. [--image-size]"
)
@click.option("--count", type=int, metavar="N", help="Take N images, a fixed random choice. [all]")
@many("--attacks", 'Names or specs: fgsm "pgd(eps=8/255, steps=40)"; "none" for the clean error alone. [fgsm pgd]')
@click.option("--eps", type=Eps(), help="Radius of the attacks that name none. [linf: .1, l2: 1, l1: 10]")
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
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run. [none is kept]")
@click.option("--resume", is_flag=True, help="Go on with the run in that folder, if there is one.")
@click.option("--no-images", is_flag=True, help="Keep no images in the run.")
@click.option("--png", is_flag=True, help="Also write adversarial images as PNG, rounded toward the clean ones.")
@click.option("--shard", metavar="I/N", help="Do this share of the batches, such as 3/16; advkit merge joins them.")
@click.option("--checks/--no-checks", default=True, help="Look for signs that the figures mislead. [yes]")
@click.option("--surrogate", metavar="MODEL", help="Another network for these images, for a check by transfer.")
@click.option("--corruptions", is_flag=True, help="Also the error under noise, blur, rotation, ... at 5 severities.")
@click.option("--crops", type=click.Choice(["1", "5", "10"]), help="Average over crops of the network's size.")
@click.option(
    "--scales", metavar="Q,Q", help="Resize the shorter side to each of these before, such as 256,288. [as is]"
)
@shared("device", "threads")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(model: str | None, as_json: bool, output: Path | None, **options: Any) -> None:
    """Evaluate a model under several attacks: each error with its interval, and the worst case over all.

    With --output each batch is kept as it is done: after a crash or Ctrl-C the same command with --resume goes on.
    torchrun -m advkit evaluate ... --output DIR shares the batches among processes; the rows are the same.

    \b
    advkit evaluate --model lenet5 --attacks "fgsm(eps=.1)" "pgd(eps=.1, steps=40)" --output runs/lenet5
    """
    if model is None:
        raise InputError("give --model NAME, such as --model lenet5: advkit models lists them")
    if options["resume"] and output is None:
        raise InputError("--resume goes on with a run: give its folder, --output DIR")
    if options["shard"] and output is None:
        raise InputError("--shard leaves a folder for advkit merge: give --output DIR")
    if world() > 1 and output is None:
        raise InputError("several processes share a run through its folder: give --output DIR")
    torch.set_num_threads(options["threads"] or cores())
    device = own_device(options["device"])
    check_device(device)
    attacks = chosen(options["attacks"], options["eps"])
    with together() as speaks:
        classifier, images = loaded(model, device, options)
        shown, classifier = classifier, averaged(classifier, options["crops"], options["scales"])
        try:
            report = _evaluated(classifier, images, attacks, output, options, quiet=not speaks)
        except KeyboardInterrupt:
            if speaks and output is not None:
                click.echo(
                    f"\nStopped. What is done is kept in {output}: the same command with --resume goes on.", err=True
                )
            raise
        if speaks and output is not None and attacks and not (output / EXAMPLES).exists():
            aim = parse_target(options["target"], images)
            draw(output / EXAMPLES, report, classifier, attacks[0], images, target=aim)
    if speaks and as_json:
        print_json(report, model, shown, output)
    elif speaks:
        print_report(report, shown, images, output)


def chosen(texts: tuple[str, ...], eps: float | None) -> list[Attack]:
    """The attacks that the user named; a budget attack without eps gets `eps`, or the default of its norm.

    Raises:
        InputError: an unknown attack, or a value that it refuses.
    """
    if texts == ("none",):
        return []
    made = []
    for text in texts or DEFAULT:
        attack = build_attack(text, {})
        if attack.kind == "budget" and getattr(attack, "eps", None) is None:
            attack = build_attack(text, {"eps": EPS.get(attack.norm, 0.1) if eps is None else eps})
        made.append(attack)
    return made


def loaded(model: str, device: str, options: dict[str, Any]) -> tuple[Classifier, Dataset]:
    """The network and the images."""
    data, size, resize = options["data"], options["image_size"], options["resize"]
    where = {"split": options["split"], "root": options["data_root"], "download": options["download"]}
    if options["weights"] == "random" and model.partition("(")[0].strip() in list_models():
        return untrained(model, data, device, size, resize, **where)
    classifier = load_model(model, data=checkpoint(data), weights=options["weights"], device=device)
    return classifier, load_images(data, classifier, size, resize, **where)


def averaged(classifier: Classifier, crops: str | None, scales: str | None) -> Classifier:
    """The network as asked for by --crops and --scales: averaging over views of the image, with the same card."""
    if crops is None and scales is None:
        return classifier
    from advkit.training.augment import CropAverage

    try:
        sides = None if scales is None else [int(side) for side in scales.split(",")]
    except ValueError as error:
        raise InputError(f"--scales: expected whole numbers such as 256,288,320, got {scales!r}") from error
    average = CropAverage(classifier, crops=int(crops or 1), scales=sides)
    average.card, average.normalize = classifier.card, classifier.normalize  # type: ignore[assignment]
    return average.eval()  # type: ignore[return-value]


def _evaluated(
    classifier: Classifier,
    images: Dataset,
    attacks: list[Attack],
    output: Path | None,
    options: dict[str, Any],
    *,
    quiet: bool,
) -> Report:
    surrogate, device = options["surrogate"], str(classifier.normalize.mean.device)
    other = load_model(surrogate, data=checkpoint(options["data"]), device=device) if surrogate else None
    with progress_bar(f"{len(attacks)} attacks") as progress:
        return evaluate(
            classifier,
            images,
            attacks,
            control=noise_like(attacks[0]) if attacks else None,
            target=parse_target(options["target"], images),
            batch_size=options["batch_size"],
            count=options["count"],
            seed=options["seed"],
            stop=options["stop"],
            progress=None if quiet else progress,
            checks=options["checks"],
            surrogate=other,
            corruptions=options["corruptions"],
            output=output,
            resume=options["resume"],
            keep=Keep(images=not options["no_images"], png=options["png"], shard=options["shard"]),
        )
