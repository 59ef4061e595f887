"""Caltech-101 and Caltech-256 in the layouts of their archives; the split is a rule."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advkit.core.errors import AdvkitWarning, InputError
from advkit.data import ImageFiles, MissingDataError, load_data

RNG = np.random.default_rng(0)


def picture(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (24, 30, 3), dtype=np.uint8)).convert(mode).save(path)


def write_101(root: Path, count: int = 6) -> Path:
    home = root / "caltech101" / "101_ObjectCategories"
    for name in ("ant", "BACKGROUND_Google", "wrench"):
        for i in range(1, count + 1):
            picture(home / name / f"image_{i:04d}.jpg", "L" if i == 2 else "RGB")
    (home / "BACKGROUND_Google" / "tmp").write_text("as in the archive")
    return home


def write_256(root: Path) -> Path:
    home = root / "caltech256" / "256_ObjectCategories"
    for number, name in enumerate(("ak47", "american-flag"), 1):
        for i in range(1, 5):
            picture(home / f"{number:03d}.{name}" / f"{number:03d}_{i:04d}.jpg")
    picture(home / "257.clutter" / "257_0001.jpg")
    picture(home / "001.ak47" / "greg" / "001_0001.jpg")  # a folder that was forgotten in the archive
    return home


def load(name: str, root: Path, **options: object) -> ImageFiles:
    data = load_data(name, root=root, **options)  # type: ignore[arg-type]
    assert isinstance(data, ImageFiles)
    return data


def test_caltech101_is_read_without_its_background(tmp_path: Path) -> None:
    write_101(tmp_path)
    parts = [load("caltech101", tmp_path, split=split, train_per_class=4) for split in ("train", "test")]
    assert [(part.classes, part.labels.tolist()) for part in parts] == [
        (("ant", "wrench"), [0] * 4 + [1] * 4),
        (("ant", "wrench"), [0] * 2 + [1] * 2),
    ]
    files = [file for part in parts for file in part.files]
    assert len(set(files)) == 12
    assert all(
        file.parent.name == part.classes[label]
        for part in parts
        for file, label in zip(part.files, part.labels.tolist(), strict=True)
    )
    x, _ = parts[0].tensors()
    assert x.shape == (8, 3, 224, 224)
    assert 0 <= x.min() <= x.max() <= 1


def test_the_split_does_not_depend_on_the_folder_or_on_other_classes_and_grows_with_its_size(tmp_path: Path) -> None:
    home = write_101(tmp_path / "a")
    write_101(tmp_path / "b")
    names = [
        [file.name for file in load("caltech101", tmp_path / part, split="train", train_per_class=3).files]
        for part in "ab"
    ]
    assert names[0] == names[1]
    assert names[0] != [f"image_{i:04d}.jpg" for i in (1, 2, 3)] * 2  # a rank by digest, not the first ones
    assert names[0][:3] != names[0][3:]
    more = load("caltech101", tmp_path / "a", split="train", train_per_class=4).files
    assert set(load("caltech101", tmp_path / "a", split="train", train_per_class=3).files) < set(more)
    picture(home / "bee" / "image_0001.jpg")
    kept = load("caltech101", tmp_path / "a", split="train", train_per_class=3)
    assert [file.name for file in kept.files if file.parent.name == "ant"] == names[0][:3]


def test_at_most_so_many_are_tested_a_class(tmp_path: Path) -> None:
    write_101(tmp_path)
    data = load("caltech101", tmp_path, train_per_class=2, test_per_class=3)
    assert data.labels.bincount().tolist() == [3, 3]
    with pytest.raises(InputError, match="no test image beyond 6 a class"):
        load("caltech101", tmp_path, train_per_class=6)
    with pytest.raises(InputError, match="of 1 or more, got 0"):
        load("caltech101", tmp_path, train_per_class=0)


def test_caltech256_is_read_without_clutter_and_without_the_numbers_of_its_folders(tmp_path: Path) -> None:
    write_256(tmp_path)
    data = load("caltech256", tmp_path, split="train", train_per_class=4, size=8, grey=True)
    assert data.classes == ("ak47", "american-flag")
    assert data.labels.tolist() == [0] * 4 + [1] * 4
    assert data[:][0].shape == (8, 1, 8, 8)
    with Image.open(data.files[0]) as image:
        assert image.size == (30, 24)


def test_a_broken_image_is_named_and_counted_and_others_are_left_out_aloud(tmp_path: Path) -> None:
    home = write_101(tmp_path)
    (home / "ant" / "image_0003.jpg").write_bytes(b"nothing")
    data = load("caltech101", tmp_path, split="train", train_per_class=6)
    assert [file.name for file, _ in data.broken()] == ["image_0003.jpg"]
    with pytest.raises(InputError, match=r"1 of 12 files .*image_0003\.jpg"):
        data.tensors()
    (home / "ant" / "notes.txt").write_text("hello")
    with pytest.warns(AdvkitWarning, match=r"1 files .*notes\.txt"):
        load("caltech101", tmp_path, train_per_class=2)


@pytest.mark.parametrize("name", ["caltech101", "caltech256"])
def test_a_set_that_is_not_there_leaves_no_folder_behind(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=f"advkit data {name} --download"):
        load_data(name, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_size_is_cut_out_of_eight_sevenths_of_it(tmp_path: Path) -> None:
    write_101(tmp_path)
    assert load("caltech101", tmp_path, train_per_class=2).resize == 256
    assert load("caltech101", tmp_path, train_per_class=2, size=28).resize == 32
    with pytest.raises(InputError, match="expected size >= 1 and resize >= size"):
        load("caltech101", tmp_path, train_per_class=2, size=24, resize=20)
