"""`advkit data`: what is here, where, how big, with counts and class names; one line for what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from advkit.cli import main
from advkit.core.errors import InputError
from advkit.data import (
    FORMS,
    data_root,
    inventory,
    list_datasets,
    load_data,
    places,
    registered,
    size_on_disk,
    splits,
)
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


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with data of every form that `--data` takes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    x, y = RNG.integers(0, 256, (6, 8, 8), dtype=np.uint8), np.arange(6) % 3
    np.savez("plain.npz", x=x, y=y)
    np.savez("parts.npz", train_images=x, train_labels=y[:, None], val_images=x[:4], val_labels=y[:4, None])
    for place in ("photos/ape/1.png", "photos/cat/2.png"):
        Path(place).parent.mkdir(parents=True)
        Image.fromarray(x[0][:, : int(place[-5]) + 4]).save(place)
    Path("list.csv").write_text("file,label,split\nphotos/ape/1.png,ape,train\nphotos/cat/2.png,cat,val\n")
    code = "import torch\n\n\ndef made(n=3):\n    return torch.rand(n, 1, 4, 4), torch.arange(n)\n"
    code += (
        "\n\ndef some(split):\n    return {'test': made()}[split]\n\n\ndef none():\n    raise ValueError('not yet')\n"
    )
    Path("data_of_mine.py").write_text(code)
    return tmp_path


OWN = {
    "plain.npz": {"test": 6},
    "npz:plain.npz": {"test": 6},
    "parts.npz": {"train": 6, "val": 4},
    "photos": {"test": 2},
    "./photos/": {"test": 2},
    "folder:photos": {"test": 2},
    "list.csv": {"train": 1, "val": 1},
    "data_of_mine:made": {"test": 3},
    "data_of_mine:made(n=2)": {"test": 2},
    "data_of_mine:some": {"test": 3},
}
"""Data of the user's, and the number of images of their splits."""


@pytest.mark.parametrize("name", OWN)
def test_data_of_your_own_are_told_checked_and_written_as_json(own: Path, name: str) -> None:
    facts = json.loads(advkit(name, "--json").stdout)[name]
    assert (facts["here"], "problem" in facts) == ("yes", False)
    assert {split: part["images"] for split, part in facts["splits"].items()} == OWN[name]
    assert {len(load_data(name, split=split, **sized(name))) for split in OWN[name]} == set(OWN[name].values())
    assert [Path(place).exists() for place in facts["where"]] == ([] if "mine" in name else [True])
    result = advkit(name, "--check")
    assert result.exit_code == 0, result.output
    for split, images in OWN[name].items():
        assert f"Split {split}: {images} images" in result.stdout
    assert f"Read all {sum(OWN[name].values())} images: none is broken." in result.stdout


def sized(name: str) -> dict[str, int]:
    """The options that open files of several sizes."""
    return {"size": 4} if "photos" in name or "csv" in name else {}


def test_a_function_may_lack_a_split_and_its_own_error_is_told_as_its_own(own: Path) -> None:
    assert "Split train: refused by your function (KeyError: 'train')" in advkit("data_of_mine:some").stdout
    assert "Error: ValueError: not yet; raised by the code of data_of_mine:none" in advkit("data_of_mine:none").stderr
    with pytest.raises(ValueError, match="not yet") as raised:
        load_data("data_of_mine:none")
    assert raised.value.__notes__ == ["raised by the code of data_of_mine:none"]


FAULTS = {
    "missing.npz": "cannot read missing.npz as arrays x and y: No such file",
    "cut.npz": "cannot read cut.npz as arrays x and y: its end is missing",
    "text.npz": "it is no archive",
    "names.npz": "expected arrays x_test and y_test, or x and y, in names.npz for the split 'test', got a",
    "long.npz": "expected images in long.npz as uint8 or as floats in [0, 1], got int64",
    "range.npz": "expected images of range.npz as uint8 or as floats in [0, 1], got values from 0 to 255",
    "half.npz": "split train: expected images of half.npz as uint8",
    "missing.csv": "cannot read the table missing.csv: No such file",
    "folder:missing": "expected a folder with one folder a class, got 'missing': no such folder",
    "missing/": "expected a data set, got 'missing/': there is no such file or folder",
    "words.txt": "words.txt is a file of another kind: expected FILE.npz",
    "missing": "unknown data set 'missing'",
    "plain.npz(half=1": "cannot read the spec 'plain.npz(half=1'",
    "plain.npz(half=3)": "expected half=1 or half=2 of plain.npz, got 3",
    "data_of_mine:no": "module 'data_of_mine' has no 'no'",
}


@pytest.mark.parametrize("name", FAULTS)
def test_data_of_your_own_with_a_fault_are_one_line_that_names_them(own: Path, name: str) -> None:
    x, y = np.arange(2 * 16 * 16).reshape(2, 16, 16) % 256, np.arange(2)
    whole = Path("plain.npz").read_bytes()
    Path("cut.npz").write_bytes(whole[: len(whole) // 2])
    Path("text.npz").write_text("words")
    Path("words.txt").write_text("words")
    np.savez("names.npz", a=x)
    np.savez("long.npz", x=x, y=y)
    np.savez("range.npz", x=x.astype(np.float32), y=y)
    np.savez("half.npz", x_train=x.astype(np.float32), y_train=y, x_test=x.astype(np.uint8), y_test=y)
    result = advkit(name)
    assert result.exit_code == 2, result.output
    assert FAULTS[name] in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert ("Split test: 2 images" in result.stdout) == (name == "half.npz")


def test_a_file_says_which_splits_it_has(own: Path) -> None:
    with pytest.raises(InputError, match=r"got train_images, .*; its splits are train, val$"):
        load_data("parts.npz")
    assert splits("parts.npz") == ["train", "val"]
    assert splits("list.csv") == ["train", "val"]
    assert splits("data_of_mine:some") == ["test", "train"]


def test_a_folder_called_like_a_data_set_needs_its_prefix(own: Path) -> None:
    Path("photos").rename("mnist5k")
    assert len(load_data("mnist5k")) == 1000
    assert len(load_data("folder:mnist5k", size=4)) == 2
    assert registered("./mnist5k") == "folder"


@pytest.mark.parametrize("name", ["plain.npz", "photos", "list.csv"])
def test_a_file_of_your_own_is_not_downloaded(own: Path, name: str) -> None:
    result = advkit(name, "--download")
    assert result.exit_code == 2
    assert f"{name} is your own" in result.stderr


def test_the_list_names_every_form(digits: str) -> None:
    listed = advkit("--data-root", digits).stdout
    for form in FORMS:
        assert any(line.split()[:1] == [form] for line in listed.splitlines()), form


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
