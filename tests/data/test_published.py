"""The published sets, on small files in their real formats."""

from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.published_sets import declare_published, write_cifar, write_idx, write_mnist
from torchvision import datasets

from advkit.core.errors import InputError
from advkit.data import MissingDataError, load_data, published
from advkit.data._dataset import DATASETS
from advkit.data._formats import read_idx
from advkit.data.mnist5k import FILE, split_rows

RNG = np.random.default_rng(0)


def test_names_and_digests_are_those_that_torchvision_checks() -> None:
    for ours, theirs in ((published.CIFAR10, datasets.CIFAR10), (published.CIFAR100, datasets.CIFAR100)):
        assert (ours["train"], ours["test"]) == (dict(theirs.train_list), dict(theirs.test_list))
        assert ours["names"] == {theirs.meta["filename"]: theirs.meta["md5"]}
    assert {split: md5 for split, (_, _, md5) in datasets.SVHN.split_list.items()} == published.SVHN
    assert {f"{split}_32x32.mat" for split in published.SVHN} == {
        file for _, file, _ in datasets.SVHN.split_list.values()
    }
    assert list(published.CLOTHES) == datasets.FashionMNIST.classes


DEFAULTS = {"split": ["test"], "root": [None], "download": [False], "pad": [2], "channels": [1], "size": [None, 224]}


@pytest.mark.parametrize("name", DATASETS.names())
def test_the_same_option_has_the_same_default_in_every_set(name: str) -> None:
    own = {key: option.default for key, option in signature(DATASETS.factory(name)).parameters.items()}
    assert {"split", "root", "download"} <= own.keys()
    for option in DEFAULTS.keys() & own.keys():
        assert own[option] in DEFAULTS[option], option


@pytest.mark.parametrize("shape", [(3, 28, 28), (5,), (0, 28, 28), (2, 3)])
def test_idx_is_read_as_torchvision_reads_it(shape: tuple[int, ...], tmp_path: Path) -> None:
    write_idx(tmp_path / "file", RNG.integers(0, 256, shape, dtype=np.uint8))
    ours = read_idx(tmp_path / "file")
    assert (ours.shape, ours.dtype) == (shape, torch.uint8)
    if ours.numel():
        assert torch.equal(ours, datasets.mnist.read_sn3_pascalvincent_tensor(str(tmp_path / "file")))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\x01\0\0\0",
        b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0",
        b"\0\0\x08\0",
        b"\0\0\x08\x04" + 16 * b"\0",
        b"\0\0\x08\x01\0\0\0\x02\0",
        b"\0\0\x08\x01\0\0\0\x02\0\0\0",
        b"\x1f\x8b\x08\x01\0\0\0\0",
    ],
)
def test_what_is_no_idx_file_of_bytes_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="expected"):
        read_idx(tmp_path / "file")


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_files_are_read_and_padded(tmp_path: Path, name: str, folder: str) -> None:
    images, labels = RNG.integers(0, 256, (12, 28, 28), dtype=np.uint8), np.arange(12, dtype=np.uint8) % 10
    write_mnist(tmp_path / folder, images, labels)
    data = load_data(name, split="test", root=tmp_path)
    x, y = data.tensors()
    assert torch.equal(x[:, 0, 2:30, 2:30], torch.from_numpy(images).float() / 255)
    assert x.count_nonzero() == np.count_nonzero(images)
    assert y.tolist() == labels.tolist()
    assert (data.input_shape, len(data.classes)) == ((1, 32, 32), 10)


def test_mnist_training_leaves_out_the_digits_that_test_mnist5k(tmp_path: Path) -> None:
    with np.load(FILE) as archive:
        pixels, labels = archive["images"], archive["labels"]
    test, train = split_rows(pixels.reshape(-1, 784), labels)
    rows = np.concatenate([test[:5], train[:7], test[5:8]])
    write_mnist(tmp_path / "MNIST", pixels[rows], labels[rows])
    assert len(load_data("mnist", split="test", root=tmp_path)) == 15
    data = load_data("mnist", split="train", root=tmp_path)
    assert torch.equal(data.tensors()[0], load_data("mnist5k", split="train", root=tmp_path)[:7][0])
    assert data.labels.tolist() == labels[train[:7]].tolist()


@pytest.mark.parametrize(("name", "count"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_pickles_are_read(tmp_path: Path, name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = datasets.CIFAR10 if count == 10 else datasets.CIFAR100
    images = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    labels = [0, 1, count - 1, 2]
    with pytest.MonkeyPatch.context() as published_digests:
        write_cifar(tmp_path, reader, images, labels)
        with pytest.raises(InputError, match=rf"{name} .*broken: .* files: .*\(not the published file\)"):
            load_data(name, root=tmp_path)
        declare_published(published_digests, tmp_path)
        x, y = load_data(name, root=tmp_path).tensors()
        train, classes = load_data(name, split="train", root=tmp_path), load_data(name, root=tmp_path).classes
    monkeypatch.setattr(reader, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    theirs = reader(str(tmp_path), train=True)
    assert np.array_equal(train.stored.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert (train.labels.tolist(), list(classes)) == (theirs.targets, theirs.classes)
    assert torch.equal(x, torch.from_numpy(images).float() / 255)
    assert y.tolist() == [0, 1, count - 1, 2]
    assert len(train) == 4 * len(reader.train_list)
    assert classes[-1] == f"class {count - 1}"


def test_svhn_matlab_files_are_read_and_ten_means_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io = pytest.importorskip("scipy.io")
    images = RNG.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    labels = np.array([[10], [1], [9]], dtype=np.uint8)
    io.savemat(tmp_path / "test_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": labels})
    with pytest.raises(InputError, match=r"1 of 1 files: test_32x32.mat \(not the published file\)"):
        load_data("svhn", root=tmp_path)
    declare_published(monkeypatch, tmp_path)
    x, y = load_data("svhn", root=tmp_path).tensors()
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    theirs = datasets.SVHN(str(tmp_path), split="test")
    assert np.array_equal((x * 255).numpy(), theirs.data)
    assert y.tolist() == theirs.labels.tolist()
    assert torch.equal(x, torch.from_numpy(images).float() / 255)
    assert y.tolist() == [0, 1, 9]


def test_a_truncated_file_is_called_broken(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST", RNG.integers(0, 256, (2, 28, 28), dtype=np.uint8), np.zeros(2, dtype=np.uint8))
    file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"1 of 4 files: t10k-images-idx3-ubyte .* advkit data mnist --download"):
        load_data("mnist", root=tmp_path)


def test_missing_and_broken_pickles_are_counted_and_named(tmp_path: Path) -> None:
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()
    (folder / "data_batch_2").write_bytes(b"not a pickle")
    with pytest.raises(InputError, match=r"7 of 7 files: data_batch_1 \(missing\), data_batch_2 \(not the published"):
        load_data("cifar10", root=tmp_path)


def test_a_broken_matlab_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "extra_32x32.mat").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"1 of 1 files: extra_32x32.mat \(not the published file\)"):
        load_data("svhn", root=tmp_path, split="extra")
    with pytest.raises(MissingDataError, match="svhn is not under"):
        load_data("svhn", root=tmp_path)


def test_files_packed_by_others_are_to_be_unpacked_not_downloaded(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST", RNG.integers(0, 256, (2, 28, 28), dtype=np.uint8), np.zeros(2, dtype=np.uint8))
    for file in (tmp_path / "MNIST" / "raw").iterdir():
        file.rename(f"{file}.gz")
    with pytest.raises(MissingDataError, match=r"packed; this unpacks it: gunzip -k .*/MNIST/raw/\*\.gz"):
        load_data("mnist", root=tmp_path)


def test_a_download_gets_broken_files_anew_and_says_nothing_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = RNG.integers(0, 256, (2, 28, 28), dtype=np.uint8), np.zeros(2, dtype=np.uint8)
    write_mnist(tmp_path / "MNIST", images, labels)
    file, whole = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte", tmp_path / "MNIST" / "raw" / "whole"
    file.rename(whole)
    file.write_bytes(whole.read_bytes()[:100])

    def fetch(self: datasets.MNIST) -> None:
        assert not file.exists()
        print("Downloading")
        whole.rename(file)

    monkeypatch.setattr(datasets.MNIST, "download", fetch)
    assert len(load_data("mnist", root=tmp_path, download=True)) == 2
    assert capsys.readouterr().out == ""


def test_a_download_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    with pytest.raises(InputError, match=r"cannot download mnist to .*: no route to host"):
        load_data("mnist", root=tmp_path, download=True)
