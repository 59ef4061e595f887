"""ImageNet: the class of an image is the rank of its folder among all 1,000, or the data set is refused."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import imagenet as torchvisions

from advkit.core.errors import InputError
from advkit.data import ImageFiles, MissingDataError, load_data

RNG = np.random.default_rng(0)
WNIDS = [f"n{i:08d}" for i in range(0, 10_000, 10)]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(path)


def write_meta(home: Path) -> None:
    """torchvision's file of the devkit: folder -> class names, folders of the validation images."""
    home.mkdir(parents=True, exist_ok=True)
    names = {wnid: (f"thing {i}", "another word") for i, wnid in enumerate(reversed(WNIDS))}
    torch.save((names, [WNIDS[5], WNIDS[2]]), home / "meta.bin")


def test_all_1000_folders_need_no_devkit_and_have_torchvisions_names(tmp_path: Path) -> None:
    home = tmp_path / "imagenet"
    for wnid in WNIDS:
        (home / "val" / wnid).mkdir(parents=True)
    for number in (0, 1, 999):
        picture(home / "val" / WNIDS[number] / f"{number}.JPEG")
    data = load_data("imagenet", root=tmp_path)
    assert data.labels.tolist() == [0, 1, 999]
    assert (data.classes[0], data.classes[1], data.classes[999]) == ("tench", "goldfish", "toilet tissue")
    assert data.input_shape == (3, 224, 224)
    assert data[:][0].shape == (3, 3, 224, 224)
    assert load_data("imagenet(size=32)", split="val", root=tmp_path)[0][0].shape == (3, 32, 32)


def test_a_part_has_the_right_numbers_where_the_devkit_is_and_is_refused_where_not(tmp_path: Path) -> None:
    home = tmp_path / "imagenet"
    for number in (7, 500):
        picture(home / "train" / WNIDS[number] / "a.JPEG")
    with pytest.raises(InputError, match=r"expected 1000 class folders in .* got 2 .*folder:"):
        load_data("imagenet", split="train", root=tmp_path)
    write_meta(home)
    data = load_data("imagenet", split="train", root=tmp_path)
    assert data.labels.tolist() == [7, 500]
    assert data.classes[7] == f"thing {999 - 7}"
    picture(home / "train" / "dogs" / "a.JPEG")
    with pytest.raises(InputError, match="'dogs', which is no class of ImageNet"):
        load_data("imagenet", split="train", root=tmp_path)
    (home / "meta.bin").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"meta\.bin is broken"):
        load_data("imagenet", split="train", root=tmp_path)


def test_a_set_that_is_not_there_says_which_files_to_get(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"ILSVRC2012_img_val\.tar and ILSVRC2012_devkit_t12.*--download"):
        load_data("imagenet", root=tmp_path)
    write_meta(tmp_path / "imagenet")
    with pytest.raises(InputError, match=r"cannot unpack imagenet in .*ILSVRC2012_img_val\.tar is not present"):
        load_data("imagenet", root=tmp_path, download=True)


def test_archives_that_lie_there_are_verified_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "imagenet"
    write_meta(home)
    archive = home / "ILSVRC2012_img_val.tar"
    with tarfile.open(archive, "w") as tar:
        for number in (1, 2):
            picture(tmp_path / "a.png")
            content = (tmp_path / "a.png").read_bytes()
            entry = tarfile.TarInfo(f"ILSVRC2012_val_{number:08d}.JPEG")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with pytest.raises(InputError, match="not present in the root directory or is corrupted"):
        load_data("imagenet", root=tmp_path, download=True)
    digest = torchvisions.check_integrity.__globals__["calculate_md5"](str(archive))
    monkeypatch.setitem(torchvisions.ARCHIVE_META, "val", (archive.name, digest))
    data = load_data("imagenet", root=tmp_path, download=True)
    assert isinstance(data, ImageFiles)
    assert {file.name[-7:]: label for file, label in zip(data.files, data.labels.tolist(), strict=True)} == {
        "01.JPEG": 5,
        "02.JPEG": 2,
    }


def test_the_archives_are_called_as_torchvision_calls_them():
    from torchvision.datasets.imagenet import ARCHIVE_META

    from advkit.data.imagenet import ARCHIVES

    assert {part: name for part, (name, _) in ARCHIVE_META.items()} == ARCHIVES
