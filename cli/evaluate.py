"""`advkit evaluate`: several attacks on one model, with a run folder that can be resumed and distributed."""

from pathlib import Path
from typing import Any

import click
import torch

from advkit.attacks import Attack
from advkit.cli._attack_options import build_attack
from advkit.cli._console import progress_bar
from advkit.cli._evaluate_output import print_json
from advkit.cli._group import last_word
from advkit.cli._picture import draw
from advkit.cli._workers import own_device, threads, together, world
from advkit.cli.attack import checkpoint, load_images, untrained
from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.data import Dataset
from advkit.evaluation import Keep, Report, evaluate, load_run
from advkit.evaluation.measure.aims import aim_at
from advkit.evaluation.measure.asked import EPS, noise_like
from advkit.evaluation.runs.run_folder import EXAMPLES
from advkit.models import Classifier, list_models, load_model

DEFAULT = ("fgsm", "pgd")
"""Attacks where none is named."""


def run(model: str | None, as_json: bool, output: Path | None, **options: Any) -> None:
    """Do what the command says."""
    if model is None:
        raise InputError("give --model NAME, such as --model lenet5: advkit models lists them")
    if options["resume"] and output is None:
        raise InputError("--resume goes on with a run: give its folder, --output DIR")
    if options["shard"] and output is None:
        raise InputError("--shard leaves a folder for advkit merge: give --output DIR")
    if options["png"] and output is None:
        raise InputError("--png writes into the folder of a run: give --output DIR")
    if world() > 1 and output is None:
        raise InputError("several processes share a run through its folder: give --output DIR")
    torch.set_num_threads(options["threads"] or threads())
    device = own_device(options["device"])
    found = find_device(device, float64=bool(options["certify"]))
    device = str(found) if options["certify"] else device
    attacks = chosen(options["attacks"], options["eps"])
    with together() as speaks:
        classifier, images = loaded(model, device, options)
        attacks = chosen(options["attacks"], options["eps"], images)
        shown, classifier = classifier, averaged(classifier, options["crops"], options["scales"])
        try:
            report = _evaluated(classifier, images, attacks, output, options, quiet=not speaks)
        except KeyboardInterrupt:
            if speaks and output is not None:
                last_word(f"\nStopped. What is done is kept in {output}: the same command with --resume goes on.")
            raise
        if speaks and output is not None and attacks and not (made := load_run(output)).stands(EXAMPLES):
            aim = aim_at(options["target"], images, option="--target")
            draw(output / EXAMPLES, report, classifier, attacks[0], images, target=aim, goal=options["goal"])
            made.enlist(EXAMPLES)
    if speaks and as_json:
        print_json(report, model, shown, output)
    elif speaks:
        click.echo(str(report if output is None else load_run(output)))


def chosen(texts: tuple[str, ...], eps: float | None, data: Dataset | None = None) -> list[Attack]:
    """Return the user's attacks; a budget attack without eps gets `eps`, or the default of its norm.

    Without data, an attack aimed at a class by its name is not aimed yet: what else is wrong is said before they load.

    Raises:
        InputError: an attack is unknown, or refuses a value.
    """
    if texts == ("none",):
        return []
    made = []
    for text in texts or DEFAULT:
        attack = build_attack(text, {}, data)
        if attack.kind == "budget" and getattr(attack, "eps", None) is None:
            attack = build_attack(text, {"eps": EPS.get(attack.norm, 0.1) if eps is None else eps}, data)
        made.append(attack)
    return made


def loaded(model: str, device: str, options: dict[str, Any]) -> tuple[Classifier, Dataset]:
    """Load the network and the images."""
    data, size, resize = options["data"], options["image_size"], options["resize"]
    where = {"split": options["split"], "root": options["data_root"], "download": options["download"]}
    where["classes"] = options.get("classes")
    if options["weights"] == "random" and model.partition("(")[0].strip() in list_models():
        return untrained(model, data, device, size, resize, **where)
    classifier = load_model(model, data=checkpoint(data), weights=options["weights"], device=device)
    return classifier, load_images(data, classifier, size, resize, **where)


def averaged(classifier: Classifier, crops: str | None, scales: str | None) -> Classifier:
    """Return the network that averages over views of the image, by --crops and --scales, with the same card."""
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
            target=aim_at(options["target"], images, option="--target"),
            goal=options["goal"],
            verdicts=options["verdicts"],
            batch_size=options["batch_size"],
            count=options["count"],
            seed=options["seed"],
            stop=options["stop"],
            progress=None if quiet else progress,
            checks=options["checks"],
            surrogate=other,
            corruptions=options["corrupted"] or options["corruptions"],
            certify=options["certify"],
            output=output,
            resume=options["resume"],
            keep=Keep(images=output is None or not options["no_images"], png=options["png"], shard=options["shard"]),
        )
