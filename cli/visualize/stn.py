"""`advkit visualize stn`: what a spatial transformer in front of a network does to images."""

from pathlib import Path

import click

from advkit.cli._options import check_device
from advkit.cli._picture import check_place
from advkit.cli.visualize.augment import in_turn
from advkit.core.classify import looking
from advkit.core.errors import InputError
from advkit.data import Dataset, load_data
from advkit.figures.transformer import transformations
from advkit.models import Classifier, load_model, shipped
from advkit.models.spatial_transformer import SpatialTransformer

NAME = "advkit-stn.png"


def run(
    model: str,
    weights: str | None,
    data: str,
    split: str,
    data_root: str | None,
    download: bool,
    count: int,
    device: str,
    output: Path | None,
) -> None:
    """Do what the command says."""
    check_device(device)
    place = check_place(output, NAME)
    own = data if data in shipped(model) else None  # else the default's, on data that suit it
    classifier = load_model(model, data=own, weights=weights, device=device)
    transformer = first_transformer(classifier)
    images = load_data(data, split=split, root=data_root, download=download)
    expected = classifier.card.input_shape
    if expected != images.input_shape:
        raise InputError(f"{model} was built for images {expected}, {data} has {images.input_shape}: give other --data")
    drawn = draw(place, classifier, transformer, images, count)
    click.echo(f"{classifier.card.describe()}; weights: {classifier.card.source}; {images}")
    click.echo(f"Picture: {place} ({drawn} images)")


def first_transformer(classifier: Classifier) -> SpatialTransformer:
    """The spatial transformer in front of the network.

    Raises:
        InputError: the network does not begin with one.
    """
    first = next(iter(classifier.net.children()), None)
    if not isinstance(first, SpatialTransformer):
        raise InputError(
            f"{classifier.card.name} does not begin with a spatial transformer: give --model stn_cnn or stn_fcn"
        )
    return first


def draw(place: Path, classifier: Classifier, transformer: SpatialTransformer, data: Dataset, count: int) -> int:
    """Write the picture of one image a class in turn; returns how many images it shows."""
    rows = in_turn(data)[:count]
    x, y = (part.to(classifier.normalize.mean.device) for part in data[rows])
    with looking(classifier):
        inside = classifier.normalize(x)
        points, output = transformer.points(inside), transformer(inside)
        given = classifier(x).argmax(1)
    output = output * classifier.normalize.std + classifier.normalize.mean
    pairs = zip(y.tolist(), given.tolist(), strict=True)
    names = tuple(f"{data.classes[label]}, given {data.classes[guess]}" for label, guess in pairs)
    title = f"{classifier.card.name} on {data.name} {data.split}"
    transformations(x, points, output, labels=names, title=title, path=place)
    return len(rows)
