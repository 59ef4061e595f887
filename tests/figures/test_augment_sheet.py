"""`advkit visualize augment`: every augmentation has its row; the rows are what the functions give."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from advkit.cli import main
from advkit.cli.visualize.augment import sheet, spread, visible
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.data import MemoryDataset
from advkit.figures.augmentations import augmentations
from advkit.training.augment import Mirror, list_augmentations


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def advkit(*words: str) -> Result:
    return CliRunner().invoke(main, ["visualize", "augment", *words])


def made(channels: int = 3, labels: tuple[int, ...] = (0, 0, 1, 2, 2, 1, 0, 3)) -> MemoryDataset:
    x = torch.rand(len(labels), channels, 16, 20, generator=torch.Generator().manual_seed(0))
    return MemoryDataset("made", "test", "abcd", x, torch.tensor(labels))


def test_every_augmentation_has_its_row_of_its_own_images() -> None:
    data, ids = made(), torch.tensor([1, 4])
    x = data[ids][0]
    rows, left_out = sheet(x, ids, data, (), 5)
    assert not left_out
    assert [name.split("\n")[0] for name, _ in rows] == ["clean", *list_augmentations()]
    shown = dict(rows)
    assert torch.equal(shown["clean"], x)
    assert torch.equal(shown["mirror"], Mirror()(x, Draws(5, ids)))
    assert shown["patch\n(size=14)"].shape == (2, 3, 14, 14)


def test_grey_images_leave_out_what_wants_colours_unless_it_was_asked_for() -> None:
    data, ids = made(channels=1), torch.arange(2)
    rows, left_out = sheet(data[ids][0], ids, data, (), 0)
    assert left_out == ["cast", "deep_image", "pca_colour"]
    assert len(rows) == 1 + len(list_augmentations()) - 3
    with pytest.raises(InputError, match="three colours"):
        sheet(data[ids][0], ids, data, ("cast",), 0)


def test_the_images_are_of_many_classes() -> None:
    data = made()
    assert data.labels[spread(data, 4)].tolist() == [0, 1, 2, 3]
    assert data.labels[spread(data, 2)].tolist() == [0, 3]
    assert data.labels[spread(data, 6)].tolist() == [0, 1, 2, 3, 0, 1]
    assert sorted(spread(data, 20).tolist()) == list(range(8))


def test_a_row_can_be_seen_on_the_smallest_images() -> None:
    x = torch.rand(1, 3, 1, 1)
    assert visible("patch", x) == "patch(size=1)"
    assert visible("mirror", x) == "mirror"


def test_the_command_writes_a_picture(somewhere: Path) -> None:
    folder = somewhere / "photographs"
    for name in ("ape", "cat"):
        (folder / name).mkdir(parents=True)
        Image.effect_noise((20, 16), 50).convert("RGB").save(folder / name / "1.png")
    words = ("--data", f"folder:{folder}", "--augment", "mirror", "--augment", "patch(size=8) + elastic")
    result = advkit(*words, "--output", str(somewhere))
    assert result.exit_code == 0, result.output
    assert f"Picture: {somewhere / 'advkit-augment.png'} (2 augmentations of 2 images)" in result.stdout
    with Image.open(somewhere / "advkit-augment.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--augment", "miror"), "did you mean 'mirror'"),
        (("--augment", "patch"), "expected images of 224 pixels or more with their padding, got 32x32"),
        (("--image-size", "8"), "--image-size is for folder:PATH"),
        (("--output", "nowhere/a.png"), "there is no folder"),
    ],
)
def test_wrong_words_are_one_line(words: tuple[str, ...], message: str, somewhere: Path) -> None:
    result = advkit(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(somewhere.iterdir()) == []


def test_the_figure_shows_the_pixels_and_refuses_rows_that_do_not_fit() -> None:
    x = made()[:3][0]
    figure = augmentations([("clean", x), ("half", x[..., :8] / 2)], labels=["a", "b", "c"], title="t")
    assert len(figure.axes) == 6
    drawn = torch.as_tensor(figure.axes[4].images[0].get_array())
    torch.testing.assert_close(drawn, (x[1, :, :, :8] / 2).permute(1, 2, 0))
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["clean", "half"]
    assert figure.axes[2].get_title() == "c"
    for rows, message in (
        ([], "one row or more"),
        ([("a", x), ("b", x[:2])], "expected 3 images .* in row 'b'"),
        ([("a", torch.cat([x, x], 1))], "C 1 to 3"),
        ([("a", x[:0])], "expected 1 images"),
    ):
        with pytest.raises(InputError, match=message):
            augmentations(rows)
    with pytest.raises(InputError, match="one label for each of 3"):
        augmentations([("a", x)], labels=["a"])
