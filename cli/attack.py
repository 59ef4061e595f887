"""`advkit attack`: one attack on one model, with intervals and a control."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from advkit.attacks import FGSM, Attack, smallest, transfer
from advkit.cli._attack_json import print_json
from advkit.cli._attack_options import build_attack
from advkit.cli._console import progress_bar, say
from advkit.cli._picture import check_place, draw
from advkit.core.devices import find_device
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.knowledge import knowledge_of
from advkit.core.registry import parse_spec
from advkit.core.saved import finite
from advkit.core.sheet import as_text
from advkit.data import Dataset, check_named, load_data, of_your_own, registered
from advkit.defenses import Transformed
from advkit.evaluation import Report, evaluate
from advkit.evaluation.measure.aims import aim_at
from advkit.evaluation.measure.asked import EPS, noise_like
from advkit.evaluation.measure.belong import belonging
from advkit.evaluation.measure.setting import setting_of
from advkit.evaluation.show.report_text import Half, attack_sheet
from advkit.models import Classifier, create_model, list_models, load_model

MINIMAL_COUNT = 100
"""Images by default for a minimal attack, which takes hundreds of passes each."""

HALF_COUNT = 200
"""Images for the eps at which half are fooled: enough for a median, at a tenth of the time of all."""


def run(
    model: str | None,
    weights: str | None,
    data: str,
    split: str,
    data_root: str | None,
    download: bool,
    classes: str | None,
    image_size: int | None,
    resize: int | None,
    count: int | None,
    attack: str,
    eps: float | None,
    norm: str | None,
    transform: str | None,
    adaptive: bool,
    target: str | None,
    goal: str | None,
    verdicts: int,
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
    """Do what the command says."""
    if model is None:
        raise InputError("give --model NAME, such as --model lenet5: advkit models lists them")
    if threads is not None:
        torch.set_num_threads(threads)
    find_device(device)
    if transform is None and not adaptive:
        raise InputError("--no-adaptive needs a transform that the attack ignores: give --transform 'jpeg(75)' too")
    given = {"eps": eps, "norm": norm, **hyperparameters}
    attacker = with_radius(attack, given)
    place = None if no_picture or (as_json and output is None) else check_place(output)
    where: dict[str, Any] = {"split": split, "root": data_root, "download": download, "classes": classes}
    if weights == "random" and model.partition("(")[0].strip() in list_models():
        classifier, images = untrained(model, data, device, image_size, resize, **where)
    else:
        classifier = load_model(model, data=checkpoint(data), weights=weights, device=device)
        images = load_images(data, classifier, image_size, resize, **where)
    attacker = with_radius(attack, given, images)
    aim = aim_at(target, images, option="--target")
    judged: Any = classifier if transform is None else Transformed(classifier, transform).eval()
    naive = transform is not None and not adaptive
    with progress_bar(attacker.name) as progress:
        report = evaluate(
            judged,
            images,
            [transfer(attacker, classifier) if naive else attacker],
            control=noise_like(attacker),
            target=aim,
            goal=goal,
            verdicts=verdicts,
            count=MINIMAL_COUNT if count is None and attacker.kind == "minimal" else count,
            seed=seed,
            stop=stop,
            batch_size=batch_size,
            progress=progress,
        )
    device = str(classifier.normalize.mean.device)
    through: Report | None = None
    if naive:
        again: Any = {"goal": goal, "verdicts": verdicts, "count": report.count, "seed": seed, "stop": stop}
        through = evaluate(judged, images, [attacker], target=aim, batch_size=batch_size, **again)
        report = _called(report, attacker.spec if as_json else f"{attacker.spec}, ignores {transform}")
        through = _called(through, f"{attacker.spec}, through {transform}")
    if as_json:
        print_json(report, model, classifier, device=device, transform=transform, through=through)
    else:
        half = half_search(judged, images, report.count, seed, batch_size, goal)
        told = replace(report, setting=setting_of(classifier, images))
        click.echo(as_text(attack_sheet(told, half, beside=through.attacks if through else ())))
        if naive:
            say(f"An attack that ignores {transform} says nothing about robustness: the error through it counts.")
        elif transform is not None:
            say(f"The network stands behind {transform}; the attack goes through it (adaptive).")
    if place is not None:
        shown = draw(place, report, classifier, attacker, images, target=aim, goal=goal)
        click.echo(f"Picture: {place} ({shown} images)", err=as_json)


def _called(report: Report, name: str) -> Report:
    return replace(report, attacks=(replace(report.attacks[0], attack=name),))


def with_radius(text: str, given: dict[str, Any], data: Dataset | None = None) -> Attack:
    """Return the user's attack; a budget attack without eps gets the default of its norm."""
    attacker = build_attack(text, given, data)
    if attacker.kind == "budget" and getattr(attacker, "eps", None) is None:
        return build_attack(text, {**given, "eps": EPS.get(attacker.norm, 0.1)}, data)
    return attacker


def checkpoint(data: str) -> str | None:
    """Return the shipped weights for these data; for MNIST and the user's own data the default's (None).

    Raises:
        InputError: there is no such data set.
    """
    check_named(data)
    name = registered(data).removesuffix("_c")  # corrupted images are for the weights of clean ones
    return None if name == "mnist" or of_your_own(data) else name


def untrained(
    model: str, data: str, device: str, image_size: int | None, resize: int | None, **where: Any
) -> tuple[Classifier, Dataset]:
    """Return a registered network with random weights for the data's shape and number of classes, and the data.

    Options in the spec of the model take precedence.
    """
    where.pop("classes", None)  # the network is made for the data, whatever they are called
    with torch.device("meta"):  # costs nothing, and knows what a folder's images are to be resized to
        plan = create_model(model)
    images = _read(data, plan, image_size, resize, **where)
    fit: dict[str, Any] = {"input_shape": images.input_shape, "num_classes": len(images.classes)}
    given = parse_spec(model).options
    fit = {name: value for name, value in fit.items() if name not in given}
    return load_model(model, weights="random", device=device, **fit), images


def load_images(
    data: str,
    classifier: Classifier,
    image_size: int | None,
    resize: int | None,
    *,
    classes: str | None = None,
    **where: Any,
) -> Dataset:
    """Load the data set in the network's size, colours and class numbers.

    Raises:
        InputError: there are no such data, they have a fixed size, or they do not fit the network.
    """
    images: Dataset = belonging(classifier, _read(data, classifier, image_size, resize, **where), classes)
    return images


def _read(data: str, classifier: Classifier, image_size: int | None, resize: int | None, **where: Any) -> Dataset:
    if registered(data) not in ("folder", "csv"):
        if image_size is not None or resize is not None:
            raise InputError(
                f"--image-size and --resize are for folder:PATH and FILE.csv: the images of {data} have their size"
            )
        return load_data(data, **where)
    channels, height, width = classifier.card.input_shape or (3, 0, 0)
    own = height if height and height == width else None
    return load_data(data, size=image_size or own, resize=resize, grey=channels == 1, **where)


def half_search(
    classifier: Any, data: Dataset, count: int, seed: int, batch_size: int, goal: str | None
) -> Half | None:
    """Return the least eps along FGSM's direction, on some of the images; None for a model without a gradient."""
    if knowledge_of(classifier) != "gradients":
        return None
    most = min(count, HALF_COUNT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdvkitWarning)  # those of the user's attack were given, this one is ours
        report = evaluate(classifier, data, [smallest(FGSM())], goal=goal, count=most, seed=seed, batch_size=batch_size)
    return Half(finite(report.attacks[0].median_distance), report.count)
