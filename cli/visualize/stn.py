"""`advkit visualize stn`: the effect of a spatial transformer in front of a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import torch
from torch import Tensor

from advkit.attacks import create_attack
from advkit.cli._picture import check_place
from advkit.cli.visualize.augment import in_turn
from advkit.core.classify import looking
from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.core.outputs import answer_of
from advkit.data import Dataset, load_data
from advkit.evaluation.measure.aims import aimed
from advkit.figures._examples import ENDINGS
from advkit.figures.circling import animation, circling
from advkit.figures.transformer import transformations
from advkit.insight import tracking
from advkit.models import Classifier, load_model, shipped
from advkit.models.spatial_transformer import ParallelTransformers, SpatialTransformer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME, MOVING = "advkit-stn.png", "advkit-stn.gif"
TRACKED = 500
"""Number of images over which the motion of parallel transformers is measured."""


def run(
    model: str,
    weights: str | None,
    data: str,
    split: str,
    data_root: str | None,
    download: bool,
    count: int,
    attack: str | None,
    motion: int | None,
    seed: int,
    device: str,
    output: Path | None,
) -> None:
    """Do what the command says."""
    device = str(find_device(device, float64=True))
    if motion and attack:
        raise InputError("--motion shows the images as they move: leave out --attack")
    place = check_place(output, MOVING, (*ENDINGS, ".gif")) if motion else check_place(output, NAME)
    own = data if data in shipped(model) else None  # else the default's, on data that suit it
    classifier = load_model(model, data=own, weights=weights, device=device)
    transformers = first_transformers(classifier)
    images = load_data(data, split=split, root=data_root, download=download)
    expected = classifier.card.input_shape
    if expected != images.input_shape:
        raise InputError(f"{model} was built for images {expected}, {data} has {images.input_shape}: give other --data")
    rows = in_turn(images)[:count]
    x, y = (part.to(classifier.normalize.mean.device) for part in images[rows])
    x_adv = None
    if attack is not None:
        x_adv = create_attack(aimed(attack, images))(classifier, x, y, sample_ids=rows.to(x.device), seed=seed).x_adv
    title = f"{classifier.card.describe()}; weights: {classifier.card.source}"
    source = f"{images.name} {images.split}, images {', '.join(map(str, rows.tolist()))}"
    source += f"; attack {attack}" if attack else ""
    if motion:
        draw_motion(
            place, classifier, transformers, x, y, frames=motion, classes=images.classes, title=title, data=source
        )
    else:
        draw(place, classifier, transformers, x, y, classes=images.classes, x_adv=x_adv, title=title, data=source)
    click.echo(f"{classifier.card.describe()}; weights: {classifier.card.source}; {images}")
    if len(transformers) > 1:
        tell_tracking(classifier, transformers, images)
    click.echo(f"Picture: {place} ({len(rows)} images)")


def first_transformers(classifier: Classifier) -> list[SpatialTransformer]:
    """Return the spatial transformer in front of the network, or the parallel ones there.

    Raises:
        InputError: the network does not begin with one.
    """
    first = next(iter(classifier.net.children()), None)
    if isinstance(first, ParallelTransformers):
        return [branch for branch in first.branches if isinstance(branch, SpatialTransformer)]
    if isinstance(first, SpatialTransformer):
        return [first]
    raise InputError(
        f"{classifier.card.name} does not begin with a spatial transformer: give --model stn_cnn or stn_fcn"
    )


def tell_tracking(classifier: Classifier, transformers: Sequence[SpatialTransformer], data: Dataset) -> None:
    """Say which channel each transformer follows on the first images."""
    x = data[:TRACKED][0].to(classifier.normalize.mean)
    for i, transformer in enumerate(transformers):
        with looking(classifier):
            points = transformer.points(classifier.normalize(x))
        found = ", ".join(f"{r:.2f} with channel {c + 1}" for c, r in enumerate(tracking(points, x).tolist()))
        click.echo(f"Transformer {i + 1}: its crop moves {found} (correlation over {len(x)} images)")


def draw_motion(
    place: Path,
    classifier: Classifier,
    transformers: Sequence[SpatialTransformer],
    x: Tensor,
    y: Tensor,
    *,
    frames: int,
    classes: Sequence[str],
    title: str,
    data: str,
) -> None:
    """Write the picture of images that go round: a GIF, or the positions of the first image side by side."""
    positions = circling(x, frames)  # (T, N, C, H, W)
    if place.suffix.lower() != ".gif":
        draw(
            place,
            classifier,
            transformers,
            positions[:, 0],
            y[:1].expand(frames),
            classes=classes,
            title=title,
            data=data,
        )
        return
    drawn = [draw(None, classifier, transformers, now, y, classes=classes, title=title, data=data) for now in positions]
    animation(drawn, place)


def draw(
    place: Path | None,
    classifier: Classifier,
    transformers: Sequence[SpatialTransformer],
    x: Tensor,
    y: Tensor,
    *,
    classes: Sequence[str],
    x_adv: Tensor | None = None,
    title: str,
    data: str,
) -> "Figure":
    """Draw and write images (N, C, H, W), each with its adversarial image on its right if there are any."""
    shown = x if x_adv is None else torch.stack([x, x_adv], 1).flatten(0, 1)
    with looking(classifier):
        inside = classifier.normalize(shown)
        points = torch.stack([transformer.points(inside) for transformer in transformers])  # (T, N, H', W', 2)
        output = torch.stack([transformer(inside) for transformer in transformers])
        given = answer_of(classifier(shown)).argmax(1)
    output = output * classifier.normalize.std + classifier.normalize.mean
    labels = y if x_adv is None else y.repeat_interleave(2)
    pairs = zip(labels.tolist(), given.tolist(), strict=True)
    names = tuple(f"{classes[label]}, given {classes[guess]}" for label, guess in pairs)
    return transformations(shown, points, output, labels=names, title=title, data=data, path=place)
