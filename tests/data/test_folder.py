"""Image folders: the label is the folder, the pixels are the file's, and nothing is skipped in silence."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from advkit.core.errors import AdvkitWarning, InputError, UnknownNameError
from advkit.data import FolderDataset, load_data

RNG = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Path:
    """A picture of random pixels; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)).convert(mode).save(path)
    return path


def load(path: Path, **options: object) -> FolderDataset:
    data = load_data(f"folder:{path}", **options)  # type: ignore[arg-type]
    assert isinstance(data, FolderDataset)
    return data


def test_labels_order_and_pixels_are_those_of_torchvisions_reader(tmp_path: Path) -> None:
    for name in ("dog/2.png", "dog/10.png", "cat/b.png", "ape/deep/a.bmp", "ape/z.png"):
        picture(tmp_path / name)
    data, theirs = load(tmp_path), ImageFolder(str(tmp_path), transforms.ToTensor())
    assert data.classes == tuple(theirs.classes) == ("ape", "cat", "dog")
    expected = dict(theirs.samples)
    assert {str(file): int(label) for file, label in zip(data.files, data.labels, strict=True)} == expected
    images = {path: theirs[i][0] for i, (path, _) in enumerate(theirs.samples)}
    for i, file in enumerate(data.files):
        assert torch.equal(data[i][0], images[str(file)])
    assert data.input_shape == (3, 5, 6)


@pytest.mark.parametrize(
    ("size", "resize", "image"), [(4, None, (9, 7)), (5, 8, (8, 17)), (16, None, (9, 7)), (3, 4, (4, 4))]
)
def test_resizing_is_torchvisions(tmp_path: Path, size: int, resize: int | None, image: tuple[int, int]) -> None:
    file = picture(tmp_path / "a" / "1.png", image)
    data = load(tmp_path, size=size, resize=resize)
    steps = [transforms.Resize(resize or size), transforms.CenterCrop(size), transforms.ToTensor()]
    with Image.open(file) as opened:
        assert torch.equal(data[0][0], transforms.Compose(steps)(opened.convert("RGB")))
    assert data.input_shape == (3, size, size)


def test_folders_named_by_numbers_keep_their_numbers(tmp_path: Path) -> None:
    for name in ("0002", "10", "7"):
        picture(tmp_path / name / "a.png")
    data = load(tmp_path)
    assert data.labels.tolist() == [2, 7, 10]
    assert len(data.classes) == 11
    assert [data.files[i].parent.name for i in range(3)] == ["0002", "7", "10"]
    picture(tmp_path / "11a" / "a.png")
    assert load(tmp_path).labels.tolist() == [0, 1, 2, 3]


def test_two_folders_of_one_number_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "1" / "a.png")
    picture(tmp_path / "01" / "a.png")
    with pytest.raises(InputError, match="same number"):
        load(tmp_path)


def test_a_class_has_the_same_index_in_every_split(tmp_path: Path) -> None:
    for name in ("train/ape/1.png", "train/cat/1.png", "test/cat/1.png"):
        picture(tmp_path / name)
    assert load(tmp_path, split="test").labels.tolist() == [1]
    assert load(tmp_path, split="train").labels.tolist() == [0, 1]
    with pytest.raises(UnknownNameError, match="split"):
        load(tmp_path, split="val")


def test_a_plain_folder_is_its_own_test_split(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    assert len(load(tmp_path)) == 1
    with pytest.raises(InputError, match="no split 'train'"):
        load(tmp_path, split="train")


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK"])
def test_every_8_bit_mode_reads_as_colour_and_as_grey(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    file = picture(tmp_path / "a" / f"1.{suffix}", mode=mode)
    for grey, target in ((False, "RGB"), (True, "L")):
        data = load(tmp_path, grey=grey)
        with Image.open(file) as opened:
            assert torch.equal(data[0][0], transforms.ToTensor()(opened.convert(target)))
        assert data.input_shape == (1 if grey else 3, 5, 6)


def test_16_bit_images_are_refused_not_clipped(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(InputError, match="8 bits"):
        load(tmp_path)[0]


def test_broken_files_are_counted_and_named_in_one_error(tmp_path: Path) -> None:
    for i in range(8):
        picture(tmp_path / "a" / f"{i}.png")
    for i in range(7):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"nothing" if i else b"")
    with pytest.raises(InputError, match=r"7 of 8 files .*0\.png.* and 2 more"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"7 of 8 files"):
        load(tmp_path, size=3)[:]


def test_a_truncated_file_is_named_when_it_is_read(tmp_path: Path) -> None:
    whole = picture(tmp_path / "a" / "0.png", (64, 64))
    (tmp_path / "a" / "1.png").write_bytes(whole.read_bytes()[:3000])
    data = load(tmp_path)
    data[0]
    with pytest.raises(InputError, match=r"1 of 2 files .*1\.png"):
        data[:]


def test_files_that_are_no_images_are_left_out_with_a_warning(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.PNG")
    assert len(load(tmp_path)) == 1
    (tmp_path / "a" / ".DS_Store").write_text("hidden")
    with pytest.warns(AdvkitWarning, match=r"1 files .*DS_Store"):
        assert len(load(tmp_path)) == 1
    (tmp_path / "a" / "notes.txt").write_text("hello")
    with pytest.warns(AdvkitWarning, match=r"2 files .*notes\.txt"):
        assert len(load(tmp_path)) == 1


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png", (4, 5))
    picture(tmp_path / "a" / "2.png", (6, 5))
    with pytest.raises(InputError, match=r"5x4 .* and 5x6 .*size="):
        load(tmp_path)
    assert load(tmp_path, size=4)[:][0].shape == (2, 3, 4, 4)


@pytest.mark.parametrize("options", [{"size": 0}, {"resize": 5}, {"size": 5, "resize": 4}])
def test_impossible_sizes_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    picture(tmp_path / "a" / "1.png")
    with pytest.raises(InputError, match="expected size"):
        load(tmp_path, **options)


def test_folders_without_classes_or_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "absent")
    with pytest.raises(InputError, match="one folder a class"):
        load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image"):
        load(tmp_path)


def test_images_are_read_only_when_asked_for(tmp_path: Path) -> None:
    file = picture(tmp_path / "a" / "1.png")
    data = load(tmp_path)
    x = data[0][0]
    picture(file)
    assert not torch.equal(data[0][0], x)


def test_files_and_order_are_those_of_torchvisions_reader_also_through_links(tmp_path: Path) -> None:
    for name in ("a/b/2.png", "a/1.JPEG", "a/z.webp", "a/b.d/3.pgm", "b/1.tiff"):
        picture(tmp_path / "data" / name, mode="L")
    picture(tmp_path / "elsewhere" / "deep" / "7.png")
    (tmp_path / "data" / "a" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data" / "c").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data" / "a" / "one.png").symlink_to(tmp_path / "elsewhere" / "deep" / "7.png")
    theirs = ImageFolder(str(tmp_path / "data")).samples
    data = load(tmp_path / "data")
    assert [(str(file), int(label)) for file, label in zip(data.files, data.labels, strict=True)] == theirs
    (tmp_path / "data" / "a" / "round").symlink_to(tmp_path / "data", target_is_directory=True)
    assert len(load(tmp_path / "data")) == len(theirs)


def test_the_suffixes_are_torchvisions() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    from advkit.data._images import SUFFIXES

    assert set(SUFFIXES) == set(IMG_EXTENSIONS)


def test_hidden_files_and_folders_do_not_count_and_are_named(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/.ipynb_checkpoints/0.png", "cat/.2.png", ".ipynb_checkpoints/3.png"):
        picture(tmp_path / name)
    with pytest.warns(AdvkitWarning, match=r"3 files .*hidden.*ipynb_checkpoints/3\.png.*\.2\.png.*0\.png"):
        data = load(tmp_path)
    assert [file.name for file in data.files] == ["1.png"]
    assert data.classes == ("cat",)


def test_links_that_lead_nowhere_are_errors_and_pipes_are_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    os.mkfifo(tmp_path / "a" / "2.png")  # to open it would wait for ever
    with pytest.warns(AdvkitWarning, match=r"^1 files .*no files with content.*2\.png$"):
        assert len(load(tmp_path)) == 1
    (tmp_path / "a" / "2.png").unlink()
    (tmp_path / "a" / "2.png").symlink_to("nowhere.png")
    with pytest.raises(InputError, match=r"1 of 2 files cannot be read .*2\.png"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"1 of 2 files cannot be read .*2\.png"):
        load(tmp_path, size=4)[:]


def test_images_beside_the_class_folders_are_counted_and_named(tmp_path: Path) -> None:
    for name in ("a/1.png", "stray.png", ".stray.png"):
        picture(tmp_path / name)
    (tmp_path / "labels.csv").touch()  # not an image, and not in a class: nobody misses it
    with pytest.warns(AdvkitWarning, match=r"^2 files .*no class folder.*\.stray\.png, .*/stray\.png$"):
        assert len(load(tmp_path)) == 1
