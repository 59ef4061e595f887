"""The picture of `advkit attack`: a few images that fell, attacked once more with the numbers they had."""

import os
import warnings
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from advkit.core.attack import Attack
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.guard import guard
from advkit.data import Dataset
from advkit.evaluation import Report
from advkit.figures import examples
from advkit.models import Classifier

NAME = "advkit-attack.png"
COLUMNS = 6
SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


def check_place(path: Path | None) -> Path:
    """The file to write: the given one, `advkit-attack.png` in a given folder, or that name in the current one.

    Raises:
        InputError: the folder is not there, may not be written to, or the name is no picture's.
    """
    place = Path(NAME) if path is None else path / NAME if path.is_dir() else path
    if place.suffix.lower() not in SUFFIXES:
        raise InputError(f"--output: expected a folder that exists or a name that ends in .png, got {str(path)!r}")
    if not place.parent.is_dir():
        raise InputError(f"--output: there is no folder {str(place.parent)!r}: make it, or give another path")
    if not os.access(place if place.exists() else place.parent, os.W_OK):
        raise InputError(f"cannot write {str(place)!r}: give --output PATH, or --no-picture")
    return place


def chosen(report: Report) -> Tensor:
    """The rows to show, at most 6: fooled ones of many classes, then those that withstood, then others."""
    row, turns = report.attacks[0], Counter[tuple[int, int]]()
    keys = []
    for i, (label, right, reached) in enumerate(
        zip(report.y.tolist(), row.right.tolist(), row.reached.tolist(), strict=True)
    ):
        group = 0 if right and reached else 1 if right else 2
        keys.append((group, turns[group, label], i))
        turns[group, label] += 1
    return torch.tensor(sorted(i for _, _, i in sorted(keys)[:COLUMNS]))


def draw(
    place: Path,
    report: Report,
    classifier: Classifier,
    attack: Attack,
    data: Dataset,
    *,
    target: str | int | None,
) -> int:
    """Write the picture; returns how many images it shows.

    The attack on them is the one that was counted: its random numbers belong to the seed and the image's number.
    """
    ids = report.sample_ids[chosen(report)]
    stop = report.attacks[0].stop
    device = classifier.normalize.mean.device
    x, y = (part.to(device) for part in data[ids])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdvkitWarning)  # given already, for all images
        result = attack(classifier, x, y, target=target, sample_ids=ids.to(device), seed=report.seed, stop=stop)
    with guard(classifier), torch.no_grad():
        logits = classifier(x)
    title = f"{attack.spec} on {classifier.card.name}, {data.name} {data.split}"
    examples(x, result.x_adv, y, logits=logits, logits_adv=result.logits, classes=data.classes, title=title, path=place)
    return len(ids)
