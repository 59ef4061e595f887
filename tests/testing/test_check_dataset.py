"""check_dataset: the data sets that need no download pass; each mistake is caught by the check that is meant for it."""

import pytest
import torch

from advkit.core.errors import InputError
from advkit.data import DATASETS, MemoryDataset, MissingDataError, list_datasets, load_data
from advkit.testing import BrokenPromiseError, check_dataset

CLASSES = ("circle", "square", "cross")


def here(name):
    try:
        load_data(name, split="test", root="/nowhere")
    except MissingDataError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name in list_datasets() if here(name)])
def test_every_data_set_that_needs_no_download_keeps_every_promise(name):
    assert {outcome.verdict for outcome in check_dataset(name).outcomes} == {"kept"}


class Plain(MemoryDataset):
    """Random images that keep every promise; the mistakes derive from it."""

    def __init__(self, split, seed=None):
        draws = torch.Generator().manual_seed({"train": 1, "test": 2}[split] if seed is None else seed)
        count = {"train": 40, "test": 12}[split]
        images = torch.randint(256, (count, 1, 6, 6), generator=draws, dtype=torch.uint8)
        super().__init__("example_shapes", split, CLASSES, images, torch.arange(count) % 3)


def registered(monkeypatch, make):
    monkeypatch.setattr(DATASETS, "_factories", dict(DATASETS._factories))

    @DATASETS.register("example_shapes")
    def shapes(*, split="test", root=None, download=False):
        """Shapes."""
        if split not in ("train", "test"):
            raise InputError(f"expected train or test, got {split!r}")
        return make(split)

    return "example_shapes"


def test_a_set_without_download_keeps_every_promise_by_name_and_as_an_object(monkeypatch):
    assert check_dataset(registered(monkeypatch, Plain)).ok
    report = check_dataset(Plain("test"))
    assert report.ok
    assert sum(outcome.verdict == "skipped" for outcome in report.outcomes) == 3


class Bytes(Plain):
    def _images(self, rows):
        return super()._images(rows) * 255


class Doubles(Plain):
    def _images(self, rows):
        return super()._images(rows).double()


class Dark(Plain):
    def _images(self, rows):
        return super()._images(rows) / 255


class Alias(Plain):
    def __init__(self, split):
        super().__init__(split)
        self.kept = self.stored.float() / 255

    def _images(self, rows):
        return self.kept[int(rows[0]) : int(rows[-1]) + 1] if len(rows) == 12 else self.kept[rows]


class Noisy(Plain):
    def _images(self, rows):
        return (super()._images(rows) + 0.01 * torch.rand(1)).clamp(0, 1)


class Shuffled(Plain):
    """Lists are sorted before they are read."""

    def _batch(self, rows):
        return (
            super()._images(rows.flip(0)) if len(rows) == 1 else super()._images(rows.sort(descending=True).values)
        ), self.labels[rows]


class Mislabelled(Plain):
    def _batch(self, rows):
        return self._images(rows), (self.labels[rows] + 1) % 3


class Nameless(Plain):
    def __init__(self, split):
        super().__init__(split)
        self.classes = ("shape", "shape", "shape")


class Overlapping(Plain):
    def __init__(self, split):
        super().__init__(split, seed=1)


class Sealed(Plain):
    def __reduce__(self):
        raise TypeError("an open file")


class Drifting(Plain):
    made = 0

    def __init__(self, split):
        Drifting.made += 1
        super().__init__(split, seed=Drifting.made)


MISTAKES = [
    (Bytes, "images_are_floats_from_0_to_1"),
    (Doubles, "images_are_floats_from_0_to_1"),
    (Dark, "images_are_floats_from_0_to_1"),
    (Mislabelled, "labels_are_numbers_of_classes"),
    (Nameless, "classes_have_names"),
    (Shuffled, "rows_are_the_same_however_they_are_asked_for"),
    (Alias, "a_look_changes_nothing"),
    (Noisy, "a_look_changes_nothing"),
    (Overlapping, "no_image_is_in_two_splits"),
    (Sealed, "loaders_and_processes_read_it"),
    (Drifting, "loading_again_gives_the_same"),
]


@pytest.mark.parametrize(("mistake", "check"), MISTAKES, ids=[f"{m.__name__}-{c}" for m, c in MISTAKES])
def test_each_mistake_is_caught_by_its_check(mistake, check, monkeypatch):
    assert check in check_dataset(registered(monkeypatch, mistake), raises=False).broken


def test_factories_that_take_any_split_or_hide_what_is_missing_are_caught(monkeypatch):
    monkeypatch.setattr(DATASETS, "_factories", dict(DATASETS._factories))

    @DATASETS.register("example_careless")
    def careless(*, split="test", root=None, download=False):
        if root is not None:
            raise MissingDataError("not there")
        return Plain(split if split in ("train", "test") else "test")

    broken = check_dataset("example_careless", raises=False).broken
    assert broken == ["a_wrong_split_is_refused", "what_is_not_there_says_how_to_get_it"]
    with pytest.raises(BrokenPromiseError, match="takes any split"):
        check_dataset("example_careless", only="a_wrong_split_is_refused")


def test_every_check_catches_a_mistake(monkeypatch):
    report = check_dataset(registered(monkeypatch, Plain))
    told = {check for _, check in MISTAKES} | {"a_wrong_split_is_refused", "what_is_not_there_says_how_to_get_it"}
    assert told == {outcome.name for outcome in report.outcomes}
