"""Convert the labels of your own folders to the class numbers of a network, by WordNet id or class name."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.files import user_path
from advkit.data._dataset import Dataset

IDS = Path(__file__).parent / "digits" / "imagenet_ids.txt"
"""The WordNet ids of ImageNet's 1,000 classes in the order of torchvision's numbers, which is that of the alphabet."""

DIGITS = ("mnist", "mnist5k", "mnist_c", "distorted_mnist", "svhn")
"""The data sets whose classes are digits."""

Names = Sequence[Sequence[str]]
"""What each class of a network may be called; the first is shown."""


class Renumbered(Dataset):
    """A data set whose labels are the numbers of a network's classes.

    Args:
        data: the data set as it was read.
        numbers: (K,), the new number of each label of the data.
        classes: name of each new number.

    Attributes:
        files: the files of the images, if the data set has files.
    """

    def __init__(self, data: Dataset, numbers: Sequence[int], classes: Sequence[str]) -> None:
        self.data, self.name, self.split, self.input_shape = data, data.name, data.split, data.input_shape
        self.labels, self.classes = torch.tensor(numbers, device="cpu")[data.labels.cpu()], tuple(classes)
        files = getattr(data, "files", None)
        if files is not None:
            self.files = files

    def _images(self, rows: Tensor) -> Tensor:
        return self.data._images(rows)


@cache
def imagenet_names() -> tuple[tuple[str, ...], ...]:
    """Return (name, WordNet id) of each of ImageNet's 1,000 classes, in torchvision's order."""
    from torchvision.models import ResNet50_Weights

    return tuple(zip(ResNet50_Weights.IMAGENET1K_V1.meta["categories"], IDS.read_text().split(), strict=True))


def read_names(path: str | Path) -> Names:
    """Read the names of a network's classes from a file.

    Args:
        path: a text file with one class a line, in the order of the network's outputs; commas separate several names of
            a class, and a WordNet id in front is a name too. Or JSON, told by its bracket: a list of names, or of lists
            of names; an object from numbers to names; or one from names to numbers.

    Raises:
        InputError: there is no such file, or it has another form.
    """
    try:
        text = user_path(path).read_text(encoding="utf-8-sig").strip()
        is_json = text[:1] in ("[", "{") or str(path).lower().endswith(".json")
        found = _of_json(json.loads(text)) if is_json else _of_lines(text)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"cannot read {path} as names of classes: {' '.join(str(error).split())}") from error
    if not found:
        raise InputError(f"expected names of classes in {path}, one a line, got none")
    return found


def _of_lines(text: str) -> Names:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [[line, *line.split(maxsplit=1), *(re.sub(r"^n\d{8}\s+", "", line).split(","))] for line in lines]


def _of_json(content: Any) -> Names:
    if isinstance(content, dict) and content and all(type(value) is int for value in content.values()):
        content = {number: name for name, number in content.items()}
    if isinstance(content, dict):
        numbers = {int(number): value for number, value in content.items()}
        if sorted(numbers) != list(range(len(numbers))):
            raise ValueError(f"expected the numbers 0 to {len(numbers) - 1}")
        content = [numbers[number] for number in range(len(numbers))]
    if not isinstance(content, list):
        raise TypeError(f"expected a list or an object, got {type(content).__name__}")
    return [[value] if isinstance(value, str) else [str(part) for part in reversed(value)] for value in content]


def numbered_by(data: Dataset, path: str | Path, outputs: int | None = None) -> Dataset:
    """Renumber the labels of a data set by the class names in a file; its other splits are renumbered alike.

    Args:
        data: a data set whose classes have names.
        path: the file, see `read_names`.
        outputs: number of outputs of the network that the labels are for; None if the network is built for the file.

    Raises:
        InputError: there is no such file, the number of classes is not that of outputs, or names do not fit.
    """
    names = read_names(path)
    if outputs is not None and len(names) != outputs:
        raise InputError(f"expected {outputs} classes in {path}, one for each output, got {len(names)}")
    found = renumbered(data, names)
    if found is None:
        raise InputError(f"no class of {data.name} is named in {path}: {data.classes[0]!r} is the first")
    found._again = data._again and partial(_numbered_split, data, path)
    return found


def _numbered_split(data: Dataset, path: str | Path, split: str) -> Dataset:
    return numbered_by(data.sibling(split), path)


def renumbered(data: Dataset, names: Names) -> Dataset | None:
    """Renumber the labels of a data set as the network's classes, by class name; None if no name is known.

    Args:
        data: a data set whose classes have names.
        names: possible names of each class of the network.

    Raises:
        InputError: some classes of the data are not among the network's, or a name fits two of them.
    """
    known: dict[str, set[int]] = {}
    for number, several in enumerate(names):
        for name in several:
            known.setdefault(_plain(name), set()).add(number)
    used = [data.classes[label] for label in sorted(set(data.labels.tolist()))]
    missing = [name for name in used if _plain(name) not in known]
    if len(missing) == len(used):
        return None
    if missing:
        raise InputError(
            f"{missing[0]!r} of {data.name} is none of the network's classes, while {len(used) - len(missing)} others "
            "are: rename its folder, or give the network's classes in order, with --classes FILE"
        )
    twofold = [name for name in used if len(known[_plain(name)]) > 1]
    if twofold:
        raise InputError(
            f"{twofold[0]!r} of {data.name} is the name of {len(known[_plain(twofold[0])])} of the network's classes: "
            "call its folder by the WordNet id"
        )
    numbers = [min(known.get(_plain(name), {0})) for name in data.classes]
    return Renumbered(data, numbers, [several[0] for several in names])


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.strip().lower()))


def learned_digits(name: str | None) -> bool:
    """Return whether the classes of a data set are digits: names such as "eight" are not in their order.

    Args:
        name: what a network's card says it learned, such as "mnist5k"; None if it does not say.
    """
    return name is not None and name.partition("(")[0] in DIGITS


def has_names(classes: Iterable[str]) -> bool:
    """Return whether the classes have names other than their numbers.

    Args:
        classes: names of the classes in their order.
    """
    return any(name != str(number) for number, name in enumerate(classes))
