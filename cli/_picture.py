"""The picture of `advkit attack`: a few fooled images, attacked again with the same random numbers."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import nsmallest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advkit.cli.commands.attack import NAME
from advkit.core.attack import Attack
from advkit.core.classify import classify
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.words import either
from advkit.data import Dataset
from advkit.evaluation import Report
from advkit.evaluation.measure.aims import Target
from advkit.figures import examples
from advkit.figures._examples import ENDINGS
from advkit.models import Classifier

COLUMNS = 6


def check_place(path: Path | None, name: str = NAME, endings: Sequence[str] = ENDINGS) -> Path:
    """Return the file to write: the given one, or `name` in a given or the current folder.

    Raises:
        InputError: the folder does not exist or cannot be written to, or the file has no picture's ending.
    """
    place = Path(name) if path is None else path / name if path.is_dir() else path
    if place.suffix.lower() not in endings:
        ends = either(endings)
        raise InputError(f"--output: expected a folder that exists or a name that ends in {ends}, got {str(path)!r}")
    if not place.parent.is_dir():
        raise InputError(f"--output: there is no folder {str(place.parent)!r}: make it, or give another path")
    effective = os.access in os.supports_effective_ids
    if not os.access(place if place.exists() else place.parent, os.W_OK, effective_ids=effective):
        raise InputError(f"cannot write {str(place)!r}: give another --output PATH")
    return place


def check_colours(data: Dataset, advice: str) -> None:
    """Check that images have the channels of a picture, before anything is found on them.

    Args:
        data: the images.
        advice: what else the user can do.

    Raises:
        InputError: they have other than one or three channels.
    """
    channels = data.input_shape[0]
    if channels not in (1, 3):
        raise InputError(f"expected images of 1 or 3 channels, as a picture has, got {channels} in {data.name}{advice}")


def chosen(report: Report) -> Tensor:
    """Return the numbers of at most 6 images to show: fooled ones of many classes, then unfooled, then others."""
    return torch.tensor(sorted(i for _, _, i in nsmallest(COLUMNS, _ranked(report))))


def _ranked(report: Report) -> Iterator[tuple[int, int, int]]:
    """Of each image its group (0 is fooled), how many of its group and class came before, and its number."""
    turns = Counter[tuple[int, int]]()
    for parts in report.samples:
        clean, row = parts[0], parts[report.attacks[0].place]
        columns = (clean["sample_ids"], clean["y"], clean["clean_wrong"], row["reached"])
        for i, label, wrong, reached in zip(*(column.tolist() for column in columns), strict=True):
            group = 2 if wrong else 0 if reached else 1
            yield group, turns[group, label], i
            turns[group, label] += 1


def draw(
    place: Path,
    report: Report,
    classifier: Classifier,
    attack: Attack,
    data: Dataset,
    *,
    target: Target,
    goal: str | None = None,
) -> int:
    """Write the picture; returns how many images it shows.

    The attack finds the same images as before, since its random numbers depend on the seed and the image's number.
    """
    ids = chosen(report)
    stop = report.attacks[0].stop
    device = classifier.normalize.mean.device
    x, y = (part.to(device) for part in data[ids])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdvkitWarning)  # given already, for all images
        call: dict[str, Any] = {"target": target, "goal": goal, "sample_ids": ids.to(device)}
        result = attack(classifier, x, y, **call, seed=report.seed, stop=stop)
    logits = classify(classifier, x)
    title = f"{attack.spec} on {classifier.card.name}, {data.name} {data.split}"
    sizes = [f"{attack.norm} {size:.3g}" for size in result.distance.tolist()]
    if result.size is not None:
        sizes = [f"size {size:.3g}" for size in result.size.tolist()]
    more: dict[str, Any] = {"classes": data.classes, "sizes": sizes, "title": title, "path": place}
    examples(x, result.x_adv, y, logits=logits, logits_adv=result.logits, **more)
    return len(ids)
