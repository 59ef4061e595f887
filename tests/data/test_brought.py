"""Data that people bring and that we did not think of: tables of other programs, odd arrays, odd pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from advkit.core.errors import InputError
from advkit.core.files import user_path
from advkit.data import load_data
from advkit.data._pairs import dense, pair

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 6, 5), dtype=np.uint8)
Y = np.array([0, 2, 1, 2])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for image, name in zip(GREY, ("a.png", "sub/b.png"), strict=False):
        Image.fromarray(image).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbffile,label\r\na.png,0\r\nsub/b.png,1\r\n",
        "file,label\na.png,0\nsub/b.png,1\n".encode("utf-16"),
        b"file,label\na.png,0\nsub\\b.png,1\n",
        b'"label","file"\r0,"a.png"\r1,"sub/b.png"\r',
    ],
    ids=["bom", "utf-16", "backslash", "cr"],
)
def test_tables_of_other_programs_are_read(home: Path, content: bytes) -> None:
    (home / "t.csv").write_bytes(content)
    data = load_data(str(home / "t.csv"), grey=True)
    assert data.labels.tolist() == [0, 1]
    assert torch.equal(data[1][0], torch.from_numpy(GREY[1])[None].float() / 255)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (f"file,label\n{'a' * 5000}.png,0\n", "1 of 1 files"),
        ("file,label\na.png\0,0\n", r"1 of 1 files .*\\x00"),
        ("file,label,split\na.png,0,Test\n", "unknown split .* did you mean 'Test'"),
        ("file,label,split\na.png,0,train\n", "unknown split .* expected one of: train"),
    ],
    ids=["long", "nul", "case", "other"],
)
def test_what_is_wrong_with_a_table_is_one_printable_line(home: Path, table: str, message: str) -> None:
    (home / "t.csv").write_text(table)
    with pytest.raises(InputError, match=message) as caught:
        load_data(str(home / "t.csv"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("y", "advice", "mend"),
    [
        (np.eye(3)[Y], "argmax", lambda y: y.argmax(1)),
        (Y.astype(float), "astype", lambda y: y.astype(int)),
        (np.array(list("abca")), "np.unique", lambda y: np.unique(y, return_inverse=True)[1]),
        (Y + 0.5, "fraction", None),
        (Y.astype(np.uint64) + 2**63, "class numbers up to 1000000", None),
    ],
    ids=["one-hot", "floats", "names", "fractions", "huge"],
)
def test_each_mistake_in_labels_has_its_advice_and_the_advice_is_right(
    tmp_path: Path, y: np.ndarray, advice: str, mend: Callable[[np.ndarray], np.ndarray] | None
) -> None:
    np.savez(tmp_path / "a.npz", x=GREY, y=y)
    with pytest.raises(InputError, match=advice):
        load_data(str(tmp_path / "a.npz"))
    if mend is not None:
        np.savez(tmp_path / "b.npz", x=GREY, y=mend(y))
        assert len(load_data(str(tmp_path / "b.npz"))) == 4


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_up_to_four_channels_may_stand_last(tmp_path: Path, channels: int) -> None:
    x = RNG.integers(0, 256, (4, 6, 5, channels), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=Y)
    assert torch.equal(load_data(str(tmp_path / "a.npz")).tensors()[0], torch.from_numpy(x).movedim(3, 1) / 255)


def test_flat_rows_of_pixels_are_told_of_their_shape(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=GREY.reshape(4, -1), y=Y)
    with pytest.raises(InputError, match=r"x\.reshape\(-1, C, H, W\)"):
        load_data(str(tmp_path / "a.npz"))


def test_numbers_of_any_precision_are_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=(GREY / 255).astype(np.longdouble), y=Y)
    assert torch.allclose(load_data(str(tmp_path / "a.npz")).tensors()[0][:, 0], torch.from_numpy(GREY) / 255)


@pytest.mark.parametrize("value", [np.array(3), np.array([3]), np.zeros((2, 0, 3)), np.array(3, ">i8")])
def test_an_array_keeps_its_shape(value: np.ndarray) -> None:
    assert dense(value).shape == value.shape


class Numbers(Dataset[Any]):
    """Items of arrays: the label is an array of no axes."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return GREY[index, None] / np.float32(255), np.array(Y[index])


X = torch.from_numpy(GREY)[:, None] / 255
BATCHES: dict[str, Callable[[], Any]] = {
    "lists": lambda: (list(X), Y.tolist()),
    "zipped": lambda: tuple(zip(*[(x, int(y)) for x, y in zip(X, Y, strict=True)], strict=True)),
    "labels as a list": lambda: (X, Y.tolist()),
    "labels as numbers of torch": lambda: (X, list(torch.from_numpy(Y))),
    "labels as numbers of numpy": lambda: (X.numpy(), tuple(Y)),
    "webdataset": lambda: {"jpg": X, "cls": torch.from_numpy(Y), "__key__": "a"},
}


@pytest.mark.parametrize("form", BATCHES)
def test_batches_as_collate_functions_leave_them_are_taken(form: str) -> None:
    x, y = pair(BATCHES[form]())
    assert torch.equal(x, X)
    assert y.tolist() == Y.tolist()


@pytest.mark.parametrize(
    "batch", [([X[0], X[1, :, :2]], [0, 1]), ((X, X), [0, 1, 2, 3]), (list(X), [0, 1]), (X, [0, 1.5]), (X, [0, "a"])]
)
def test_other_lists_are_one_line(batch: Any) -> None:
    with pytest.raises(InputError) as caught:
        pair(batch)
    assert str(caught.value).isprintable()


def test_labels_without_axes_are_labels() -> None:
    from advkit import evaluate

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(30, 3)).eval()
    plain = evaluate(model, DataLoader(TensorDataset(X, torch.from_numpy(Y)), batch_size=2), ["fgsm"], checks=False)
    found = evaluate(model, Numbers(), ["fgsm"], checks=False, batch_size=2)
    assert found.adversarial_error == plain.adversarial_error
    assert found.count == 4


@pytest.mark.parametrize("transparency", [0, bytes(range(256))])
def test_a_palette_with_transparency_is_read_as_its_colours(tmp_path: Path, transparency: Any) -> None:
    picture = Image.fromarray(np.stack([GREY[0]] * 3, 2)).convert("P")
    (tmp_path / "cat").mkdir()
    picture.save(tmp_path / "cat" / "1.png", transparency=transparency)
    x, _ = load_data(f"folder:{tmp_path}").tensors()
    assert torch.equal(x[0], torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1) / 255)


def test_the_orientation_in_a_photographs_notes_is_ignored_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    (tmp_path / "cat").mkdir()
    notes = Image.Exif()
    notes[0x112] = 6
    Image.fromarray(np.stack([GREY[0]] * 3, 2)).save(tmp_path / "cat" / "1.jpg", exif=notes)
    x, _ = load_data(f"folder:{tmp_path}").tensors()
    theirs = np.array(ImageFolder(str(tmp_path))[0][0])
    assert torch.equal(x[0], torch.from_numpy(theirs).permute(2, 0, 1) / 255)


def test_a_tilde_is_the_home_of_the_user_and_that_of_nobody_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/x") == Path("/home/me/x")
    assert user_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    for name in ("folder:~nobody-of-this-name/x", "~nobody-of-this-name/x.csv", "~nobody-of-this-name/x.npz"):
        with pytest.raises(InputError):
            load_data(name)
