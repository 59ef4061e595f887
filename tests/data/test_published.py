"""The published sets, on small files in their real formats."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from advkit.core.errors import InputError
from advkit.data import MissingDataError, load_data
from advkit.data.mnist5k import FILE, split_rows

RNG = np.random.default_rng(0)


def write_idx(path: Path, array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def write_mnist(folder: Path, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    for part in ("train", "t10k"):
        write_idx(folder / "raw" / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / "raw" / f"{part}-labels-idx1-ubyte", labels)


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
    folder = tmp_path / reader.base_folder
    folder.mkdir()
    images = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    batch = {"data": images.reshape(4, -1), "labels" if count == 10 else "fine_labels": [0, 1, count - 1, 2]}
    for file, _ in [*reader.train_list, *reader.test_list]:
        (folder / file).write_bytes(pickle.dumps(batch))
    meta = {reader.meta["key"]: [f"class {i}" for i in range(count)]}
    (folder / reader.meta["filename"]).write_bytes(pickle.dumps(meta))
    monkeypatch.setattr(reader, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    x, y = load_data(name, root=tmp_path).tensors()
    assert torch.equal(x, torch.from_numpy(images).float() / 255)
    assert y.tolist() == [0, 1, count - 1, 2]
    assert len(load_data(name, split="train", root=tmp_path)) == 4 * len(reader.train_list)
    assert load_data(name, root=tmp_path).classes[-1] == f"class {count - 1}"


def test_svhn_matlab_files_are_read_and_ten_means_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io = pytest.importorskip("scipy.io")
    images = RNG.integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    labels = np.array([[10], [1], [9]], dtype=np.uint8)
    io.savemat(tmp_path / "test_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": labels})
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    x, y = load_data("svhn", root=tmp_path).tensors()
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
