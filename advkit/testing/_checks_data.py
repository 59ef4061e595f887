"""`check_dataset`: every promise that a data set makes to evaluation and training, as a named check."""

import hashlib
import pickle
import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from advkit.core.errors import InputError, check_given
from advkit.data import Dataset, MissingDataError, load_data
from advkit.testing._check import CheckReport
from advkit.testing._family import expect, judged, promises_of

LOOKED_AT = 300
"""Images that are read of a split, evenly spread."""

BY_NAME = ("a_wrong_split_is_refused", "what_is_not_there_says_how_to_get_it", "loading_again_gives_the_same")
"""Checks of what loads a data set; one that is loaded already makes no such promise."""


def check_dataset(
    data: Dataset | str,
    *,
    splits: Iterable[str] = ("train", "test"),
    only: str | Iterable[str] = (),
    skip: str | Iterable[str] = (),
    raises: bool = True,
    **options: Any,
) -> CheckReport:
    """Run every check that applies to a data set; nothing is downloaded.

    Args:
        data: a `Dataset`; or a registered name or spec, of which every split is checked.
        splits: splits to check if `data` is a name; default: all.
        only: name or names of the checks to run; the others are left out.
        skip: name or names of checks that are reported as skipped.
        raises: True raises an error for a broken promise, False only reports it.
        **options: further options of `load_data`, such as `root=`.

    Returns:
        A `CheckReport`.

    Raises:
        BrokenPromiseError: an AssertionError that names every broken promise and what was seen.
        InputError: the data set is missing.
        UnknownNameError: there is no such check.
    """
    check_given("data", data, (str, Dataset), "a Dataset or the name of one")
    parts = [load_data(data, split=split, **options) for split in splits] if isinstance(data, str) else [data]
    checks = _Checks(parts, data if isinstance(data, str) else None, options)
    promises = promises_of(checks, lambda check: isinstance(data, str) or check not in BY_NAME)
    return judged(data if isinstance(data, str) else data.name, promises, only=only, skip=skip, raises=raises)


class _Checks:
    """The checks; each method is one, and its first line the promise."""

    def __init__(self, parts: list[Dataset], name: str | None, options: dict[str, Any]) -> None:
        self._parts, self._name, self._options = parts, name, options

    def images_are_floats_from_0_to_1(self) -> None:
        """Images are finite float32 (N, C, H, W) in [0, 1], of the shape that the set says, and not all alike."""
        for part, (x, _) in zip(self._parts, self._looks, strict=True):
            expect(x.dtype == torch.float32, f"images are {x.dtype}")
            expect(x.shape[1:] == part.input_shape, f"images of {tuple(x.shape[1:])}, {part.input_shape} promised")
            expect(x.isfinite().all() and x.min() >= 0 and x.max() <= 1, f"pixels from {x.min():g} to {x.max():g}")
            expect(len(x) < 2 or (x != x[:1]).any(), "every image is the same")
            expect(x.max() > 1 / 128, f"the lightest pixel is {x.max():g}: divided by 255 twice?")

    def labels_are_numbers_of_classes(self) -> None:
        """Labels are int64 from 0 to K - 1, one an image, and those that reading gives."""
        for part, (_, y) in zip(self._parts, self._looks, strict=True):
            labels = part.labels
            expect(
                labels.dtype == torch.int64 and labels.shape == (len(part),), f"{labels.dtype} {tuple(labels.shape)}"
            )
            expect(len(part) > 0, f"the split {part.split} is empty")
            expect(
                labels.min() >= 0 and labels.max() < len(part.classes),
                f"labels to {labels.max()} of {len(part.classes)}",
            )
            expect(torch.equal(y, labels[_rows(part)]), "reading gives other labels than `labels`")

    def classes_have_names(self) -> None:
        """Every class has a name of its own, and the splits have the same classes."""
        for part in self._parts:
            expect(len(set(part.classes)) == len(part.classes) > 1, f"classes {part.classes[:5]}")
            expect(part.classes == self._parts[0].classes, f"the split {part.split} has other classes")
            expect(part.input_shape == self._parts[0].input_shape, f"the split {part.split} has other shapes")

    def rows_are_the_same_however_they_are_asked_for(self) -> None:
        """A number, a slice, a list and a mask give the same images."""
        for part in self._parts:
            count = min(5, len(part))
            x, y = part[:count]
            mask = torch.zeros(len(part), dtype=torch.bool)
            mask[:count] = True
            singles = [part[i] for i in range(count)]
            asked = [part[list(range(count))], part[mask], part[torch.arange(count)]]
            asked.append((torch.stack([image for image, _ in singles]), torch.stack([label for _, label in singles])))
            for images, labels in asked:
                expect(torch.equal(images, x) and torch.equal(labels, y), f"rows of {part.split} differ")

    def a_look_changes_nothing(self) -> None:
        """The second look gives the same images, also after somebody wrote on those of the first."""
        for part in self._parts:
            rows = _rows(part)[:20]
            before = torch.random.get_rng_state()
            first = part[rows][0]
            kept = first.clone()
            first.fill_(0.5)
            expect(torch.equal(part[rows][0], kept), f"the images of {part.split} changed")
            expect(torch.equal(before, torch.random.get_rng_state()), "reading changed torch's random state")

    def no_image_is_in_two_splits(self) -> None:
        """No image of one split is in another."""
        found: dict[bytes, str] = {}
        for part in self._parts:
            for x, _ in part.batches(500) if len(part) <= 20_000 else [part[_rows(part)]]:
                for image in x:
                    digest = hashlib.sha256(image.numpy().tobytes()).digest()
                    expect(
                        found.setdefault(digest, part.split) == part.split, f"{part.split} has one of {found[digest]}"
                    )

    def loaders_and_processes_read_it(self) -> None:
        """A DataLoader makes batches of it, and a pickled copy gives the same images."""
        for part in self._parts:
            x, y = next(iter(DataLoader(part, batch_size=3)))
            expect(torch.equal(x, part[:3][0]) and torch.equal(y, part[:3][1]), "a DataLoader gives other images")
            copied = pickle.loads(pickle.dumps(part))
            expect(torch.equal(copied[:3][0], x), "a pickled copy gives other images")

    def loading_again_gives_the_same(self) -> None:
        """The split is the same for ever: loading again gives the same images in the same order."""
        for part, (x, y) in zip(self._parts, self._looks, strict=True):
            again = load_data(self._asked, split=part.split, **self._options)
            expect(torch.equal(again.labels, part.labels), f"other labels in {part.split} when it is loaded again")
            images, labels = again[_rows(again)]
            expect(torch.equal(images, x) and torch.equal(labels, y), f"other images in {part.split} when loaded again")

    def a_wrong_split_is_refused(self) -> None:
        """A split that the set does not have is refused with an InputError that names one that it has."""
        try:
            load_data(self._asked, split="no_such_split", **self._options)
        except MissingDataError as error:
            raise AssertionError(f"says that the data are missing: {error}") from error
        except InputError as error:
            expect(any(part.split in str(error) for part in self._parts), f"names no split that there is: {error}")
        else:
            raise AssertionError("takes any split")

    def what_is_not_there_says_how_to_get_it(self) -> None:
        """In an empty folder it loads without a download, or says with which command to get it."""
        with tempfile.TemporaryDirectory() as empty:
            try:
                load_data(self._asked, split=self._parts[0].split, **{**self._options, "root": empty})
            except MissingDataError as error:
                expect("advkit data" in str(error), f"gives no command: {error}")
            expect(not list(Path(empty).iterdir()), "leaves files where it was only looked for")

    @property
    def _asked(self) -> str:
        assert self._name is not None
        return self._name

    @cached_property
    def _looks(self) -> list[tuple[Tensor, Tensor]]:
        return [part[_rows(part)] for part in self._parts]


def _rows(part: Dataset) -> Tensor:
    """Numbers of at most 300 images, evenly spread."""
    return torch.linspace(0, len(part) - 1, min(LOOKED_AT, len(part))).long()
