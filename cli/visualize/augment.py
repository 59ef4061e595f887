"""`advkit visualize augment`: a sheet of augmentations, one a row."""

from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from advkit.cli._console import say
from advkit.cli._picture import check_place
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.data import Dataset, load_data
from advkit.figures.augmentations import augmentations
from advkit.training.augment import create_augmentation, list_augmentations

NAME = "advkit-augment.png"
COLOURED = ("pca_colour", "cast", "deep_image")
"""Augmentations that want three channels."""


def run(
    data: str,
    split: str,
    data_root: str | None,
    download: bool,
    image_size: int | None,
    specs: tuple[str, ...],
    count: int,
    seed: int,
    output: Path | None,
) -> None:
    """Do what the command says."""
    place = check_place(output, NAME)
    if image_size is not None and not data.startswith("folder:"):
        raise InputError(f"--image-size is for folder:PATH: the images of {data} have their size")
    options: dict[str, Any] = {} if image_size is None else {"size": image_size}
    images = load_data(data, split=split, root=data_root, download=download, **options)
    ids = spread(images, count)
    x, y = images[ids]
    rows, left_out = sheet(x, ids, images, specs, seed)
    labels = [images.classes[label] for label in y.tolist()]
    augmentations(rows, labels=labels, title=f"{images.name} {images.split}, seed {seed}", path=place)
    if left_out:
        say(f"Left out, because the images have no colours: {', '.join(left_out)}")
    click.echo(f"Picture: {place} ({len(rows) - 1} augmentations of {len(x)} images)")


def spread(data: Dataset, count: int) -> Tensor:
    """Return numbers of images that are evenly spread over the classes."""
    rows, present = in_turn(data), len(set(data.labels.tolist()))
    return rows[:count] if present <= count else rows[torch.linspace(0, present - 1, count).long()]


def in_turn(data: Dataset) -> Tensor:
    """Yield the numbers of all images: the first of every class, then the second of every class, and so on."""
    order = data.labels.cpu().argsort(stable=True)
    labels = data.labels.cpu()[order]
    turn = torch.arange(len(labels)) - torch.searchsorted(labels, labels)  # less where the class of each begins
    return order[(turn * len(data.classes) + labels).argsort()]


def sheet(
    x: Tensor, ids: Tensor, data: Dataset, specs: tuple[str, ...], seed: int
) -> tuple[list[tuple[str, Tensor]], list[str]]:
    """Return the rows of the picture, and the names of augmentations that need colours and were left out.

    Raises:
        InputError: a requested augmentation does not suit the images.
    """
    rows, left_out = [("clean", x)], []
    for spec in specs or (visible(name, x) for name in list_augmentations()):
        if not specs and x.shape[1] != 3 and spec.split("(")[0] in COLOURED:
            left_out.append(spec.split("(")[0])
            continue
        made = create_augmentation(spec, data=data)
        label = spec.replace(" + ", "\n+ ").replace("(", "\n(").replace(", ", ",\n ") if len(spec) > 12 else spec
        rows.append((label, made(x, Draws(seed, ids))))
    return rows, left_out


def visible(name: str, x: Tensor) -> str:
    """Return the spec of an augmentation in a suitable size, and strong enough to be visible."""
    shorter = min(x.shape[2:])
    size = max(shorter * 7 // 8, 1)  # 224 of 256
    special = {
        "patch": f"patch(size={size})",
        "scale_jitter": f"scale_jitter(low={shorter}, high={2 * shorter}, size={size})",
        "pca_colour": "pca_colour(sd=0.3)",
    }
    return special.get(name, name)
