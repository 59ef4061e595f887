"""`advkit data`: what is here, where, how big, with counts and class names; one line for what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from advkit.cli import main
from advkit.data import data_root, inventory, list_datasets, load_data, places, size_on_disk, splits
from advkit.data._inventory import PLACES, PUBLISHED

RNG = np.random.default_rng(0)


def advkit(*words: str) -> Result:
    return CliRunner().invoke(main, ["data", *words])


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data root where mnist5k lies."""
    root = tmp_path_factory.mktemp("data")
    load_data("mnist5k", root=root)
    return str(root)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name in ("train/ape/1.png", "train/ape/2.png", "train/cat/1.png", "test/cat/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (7, 4 + int(name[-5])), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def test_one_data_set_is_told_with_place_size_counts_and_classes(digits: str) -> None:
    result = advkit("mnist5k", "--data-root", digits)
    assert result.exit_code == 0, result.output
    assert "Split train: 4,000 images of 1x32x32, 400 a class" in result.stdout
    assert "Split test: 1,000 images" in result.stdout
    assert "Classes (10): 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in result.stdout


def test_a_folder_is_told_whatever_the_sizes_of_its_images(photographs: Path) -> None:
    result = advkit(f"folder:{photographs}", "--check")
    assert result.exit_code == 0, result.output
    assert "Split train: 3 images, 1 to 2 a class" in result.stdout
    assert "Split test: 1 images, 1 a class, no image of 1 classes" in result.stdout
    assert "Classes (2): ape, cat" in result.stdout
    assert "Read all 4 images: none is broken." in result.stdout


def test_a_check_names_every_broken_file(photographs: Path) -> None:
    for name in ("train/ape/1.png", "test/cat/1.png"):
        (photographs / name).write_bytes(b"nothing")
    result = advkit(f"folder:{photographs}", "--check")
    assert result.exit_code == 2
    *named, last = result.stderr.splitlines()
    assert [line.split(": ")[0] for line in named] == [
        str(photographs / name) for name in ("train/ape/1.png", "test/cat/1.png")
    ]
    assert last == "Error: 2 of 4 files cannot be read as images: mend or remove them"


def test_a_data_set_may_be_told_with_its_options(digits: str) -> None:
    result = advkit("distorted_mnist(variant=P, copies=2)", "--data-root", digits)
    assert result.exit_code == 0, result.output
    assert "Split train: 8,000 images of 1x32x32, 800 a class" in result.stdout
    assert "Split test: 2,000 images" in advkit("distorted_mnist(copies=2)", "--data-root", digits).stdout
    result = advkit("folder")
    assert result.exit_code == 2
    assert "folder:PATH" in result.stderr


def test_json_is_one_object(photographs: Path) -> None:
    facts = json.loads(advkit(f"folder:{photographs}", "--json").stdout)[f"folder:{photographs}"]
    assert facts["here"] == "yes"
    assert facts["splits"]["train"]["per_class"] == [2, 1]
    assert facts["bytes"] == sum(file.stat().st_size for file in photographs.rglob("*.png"))
    assert json.loads(advkit("norb", "--data-root", str(photographs), "--json").stdout)["norb"]["here"] == "no"


def test_a_missing_and_a_broken_set_get_one_line_and_a_code(tmp_path: Path) -> None:
    result = advkit("svhn", "--data-root", str(tmp_path))
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: svhn is not under {tmp_path}; this downloads it: advkit data svhn --download --data-root {tmp_path}\n"
    )
    (tmp_path / "test_32x32.mat").write_bytes(b"nothing")
    result = advkit("svhn", "--data-root", str(tmp_path))
    assert result.exit_code == 2
    assert "1 of 1 files: test_32x32.mat (not the published file)" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_broken_set_does_not_break_the_list(tmp_path: Path) -> None:
    (tmp_path / "test_32x32.mat").write_bytes(b"nothing")
    result = advkit("[sn]*", "--data-root", str(tmp_path))
    assert result.exit_code == 0
    assert any(line.split()[:2] == ["norb", "no"] for line in result.stdout.splitlines())
    assert any(line.split()[:2] == ["svhn", "broken"] for line in result.stdout.splitlines())
    assert "1 of 1 files: test_32x32.mat" in result.stdout


@pytest.mark.parametrize("words", [("cifar*", "--download"), ("*", "--check")])
def test_a_download_is_of_one_data_set(words: tuple[str, ...]) -> None:
    result = advkit(*words)
    assert result.exit_code == 2
    assert "for one data set" in result.stderr


def test_a_download_gets_the_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, *, split: str, root: str, download: bool) -> None:
        asked.append((name, split, root, download))

    monkeypatch.setattr("advkit.cli.data.load_data", load)
    advkit("svhn", "--download", "--data-root", str(tmp_path))
    assert asked == [("svhn", split, str(tmp_path), True) for split in ("train", "test")]


def test_a_split_with_fewer_images_than_published_says_so(digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLISHED["mnist5k"], "test", 1001)
    facts, data = inventory("mnist5k", "test", digits)
    assert (facts.images, facts.published) == (len(data), 1001)
    assert (
        "1,000 images of 1x32x32, 100 a class; published are 1,001" in advkit("mnist5k", "--data-root", digits).stdout
    )


def test_every_set_has_a_place_or_is_made_on_the_fly(tmp_path: Path) -> None:
    assert set(list_datasets()) - set(PLACES) == {"mnist5k", "distorted_mnist", "mnist_addition"}
    assert places("distorted_mnist", tmp_path) == []
    assert size_on_disk([tmp_path]) == 0
    assert splits("mnist") == ["train", "test"]
    assert data_root(tmp_path) == tmp_path
