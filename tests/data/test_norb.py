"""Small NORB: its own file format, pairs, and how each was taken."""

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from helpers.published_sets import MAGIC, matrix
from helpers.published_sets import write_norb as write
from torchvision.transforms.v2 import functional

from advkit.core.errors import InputError, UnknownNameError
from advkit.data import MissingDataError, load_data, norb
from advkit.data.norb import NORB, STEMS, read_matrix

RNG = np.random.default_rng(0)


def load(root: Path, **options: object) -> NORB:
    data = load_data("norb", root=root, **options)  # type: ignore[arg-type]
    assert isinstance(data, NORB)
    return data


def test_pairs_labels_and_how_they_were_taken_are_read(tmp_path: Path) -> None:
    pairs, labels, info = write(tmp_path)
    data = load(tmp_path)
    x, y = data.tensors()
    assert torch.equal(x, torch.from_numpy(pairs).float() / 255)
    assert y.tolist() == labels.tolist()
    assert data.classes == ("animal", "human", "airplane", "truck", "car")
    assert data.instance.tolist() == info[:, 0].tolist()
    assert data.elevation.tolist() == [30, 35, 40, 45, 50, 55]
    assert data.azimuth.tolist() == [0, 20, 40, 60, 80, 100]
    assert data.lighting.tolist() == info[:, 3].tolist()
    assert torch.equal(data[[4, 1]][0], x[[4, 1]])


def test_one_view_is_one_channel_of_the_pair(tmp_path: Path) -> None:
    write(tmp_path)
    both = load(tmp_path)[:][0]
    assert torch.equal(load(tmp_path, view="left")[:][0], both[:, :1])
    assert torch.equal(load(tmp_path, view="right")[:][0], both[:, 1:])
    right = load_data("norb(view=right)", root=tmp_path)
    assert torch.equal(right[:][0], both[:, 1:])
    assert right.input_shape == (1, 96, 96)


def test_resizing_is_torchvisions(tmp_path: Path) -> None:
    write(tmp_path)
    expected = functional.resize(load(tmp_path)[:][0], [32, 32], antialias=True)
    data = load(tmp_path, size=32)
    assert torch.equal(data[:][0], expected)
    assert data.input_shape == (2, 32, 32)


def test_images_stay_on_the_disk(tmp_path: Path) -> None:
    write(tmp_path)
    assert isinstance(load(tmp_path)._pairs, np.memmap)
    load(tmp_path)[0][0].zero_()  # a copy: the file is mapped read-only


def test_another_process_gets_the_name_of_the_file_not_the_images(tmp_path: Path) -> None:
    write(tmp_path)
    data = load(tmp_path)
    packed = pickle.dumps(data)
    assert len(packed) < 10_000  # the images: 110,592 bytes
    again = pickle.loads(packed)
    assert torch.equal(again[:][0], data[:][0])
    assert torch.equal(again.azimuth, data.azimuth)


@pytest.mark.parametrize("dtype", MAGIC)
@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4), (2, 1, 2, 2), (0, 4)])
def test_every_type_and_number_of_dimensions_is_read(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = RNG.integers(0, 100, shape).astype(dtype)
    (tmp_path / "a").write_bytes(matrix(array, dtype))
    read = read_matrix(tmp_path / "a")
    assert read.dtype == np.dtype(dtype)
    assert np.array_equal(read, array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], "expected 24 bytes for a matrix of .2, 2., got 23"),
        (lambda b: b + b"x", "got 25"),
        (lambda b: b[:10], "got 10"),
        (lambda b: b"", "an empty file"),
        (lambda b: b[:8] + struct.pack("<i", -2) + b[12:], r"expected sizes of 0 or more, got \[-2"),
        (lambda b: b[:4][::-1] + b[4:], "NORB's format, got the first bytes 1e3d4c55"),
        (lambda b: b[:4] + struct.pack("<i", 0) + b[8:], "NORB's format"),
    ],
)
def test_a_file_that_is_broken_is_refused_with_what_is_wrong(tmp_path: Path, change: Any, message: str) -> None:
    content = matrix(np.zeros((2, 2), dtype=np.uint8), "u1")
    assert len(content) == 24
    (tmp_path / "a").write_bytes(change(content))
    with pytest.raises(ValueError, match=message):
        read_matrix(tmp_path / "a")


def test_broken_and_missing_files_are_counted_and_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "norb" / f"{STEMS['test']}-cat.mat").unlink()
    file = tmp_path / "norb" / f"{STEMS['test']}-info.mat"
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(InputError, match=r"2 of 3 files: .*-cat.mat \(missing\), .*-info.mat \(expected .* got 30\)"):
        load(tmp_path)
    with pytest.raises(MissingDataError, match="advkit data norb --download"):
        load(tmp_path, split="train")


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "norb" / f"{STEMS['test']}-cat.mat"
    for labels, message in ((np.zeros(5), "expected 6 labels"), (np.full(6, 5), r"labels in 0 \.\. 4")):
        file.write_bytes(matrix(labels, "<i4"))
        with pytest.raises(InputError, match=message):
            load(tmp_path)
    with pytest.raises(UnknownNameError, match="view of norb 'lft'; did you mean 'left'"):
        load(tmp_path, view="lft")


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """A web server on this machine; give it a folder, and it gives its address."""
    servers = []

    def start(folder: Path) -> str:
        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))))
        Thread(target=servers[0].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[0].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_download_is_unpacked_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], str]
) -> None:
    """The published digests are replaced by those of a small set; everything else is the real path."""
    pairs, *_ = write(tmp_path)
    folder, served = tmp_path / "norb", tmp_path / "served"
    served.mkdir()
    digests = {}
    for part in ("dat", "cat", "info"):
        file = folder / f"{STEMS['test']}-{part}.mat"
        packed = gzip.compress(file.read_bytes())
        (served / f"{file.name}.gz").write_bytes(packed)
        digests[part] = (hashlib.md5(packed).hexdigest(), hashlib.md5(file.read_bytes()).hexdigest())
        file.write_bytes(b"broken")
    monkeypatch.setitem(norb.MD5, "test", digests)
    monkeypatch.setattr(norb, "URL", serve(served))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert torch.equal(load(tmp_path, download=True)[:][0], torch.from_numpy(pairs).float() / 255)
    assert len(list(folder.iterdir())) == 3
    other = {**digests, "info": (digests["info"][0], digests["cat"][1])}
    monkeypatch.setitem(norb.MD5, "test", other)
    with pytest.raises(InputError, match=r"-info.mat is not the published file after it was unpacked"):
        load(tmp_path, download=True)
    monkeypatch.setitem(norb.MD5, "test", digests)
    (served / f"{STEMS['test']}-dat.mat.gz").write_bytes(b"not that file")
    (folder / f"{STEMS['test']}-dat.mat").unlink()
    with pytest.raises(InputError, match="cannot download norb"):
        load(tmp_path, download=True)
