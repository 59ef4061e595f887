"""The 15 corruptions against the published functions: values that these gave, with the same random numbers.

tests/data/hendrycks.json holds them. They come from make_imagenet_c.py and make_cifar_c.py of hendrycks/robustness,
run on the scene below with scipy 1.17, scikit-image 0.26 and OpenCV 4.10, where NumPy's random functions were replaced
by advkit's numbers, and ImageMagick's motion blur by that of the package imagecorruptions 1.1.2. Each entry holds the
values at eight places (red, green and blue after each other), and the mean of all values.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from advkit.core.errors import InputError
from advkit.data.hendrycks import KINDS, STRENGTHS, corrupt_as_published, table_for
from advkit.data.hendrycks.ice import NAMES, drawn_ice

SIDES = {"cifar": 32, "imagenet": 224}
ROWS = {"cifar": [0, 3, 9, 12, 16, 21, 27, 31], "imagenet": [0, 11, 40, 83, 112, 150, 201, 223]}
COLUMNS = {"cifar": [0, 20, 7, 13, 16, 30, 2, 31], "imagenet": [0, 190, 33, 101, 112, 7, 154, 223]}


def scene(side: int, channels: int = 3) -> torch.Tensor:
    """(1, C, side, side) of 256 levels: a sky, a bright disk, stripes and a dark corner."""
    rows = torch.arange(side, dtype=torch.float64)[:, None] / side
    columns = torch.arange(side, dtype=torch.float64)[None, :] / side
    disk = ((rows - 0.4) ** 2 + (columns - 0.45) ** 2 < 0.05).double()
    stripes = ((columns * 12).floor() % 2) * (rows > 0.7)
    planes = [
        0.3 + 0.4 * rows + 0.3 * disk - 0.25 * stripes,
        0.5 + 0.2 * (columns * 9).sin() + 0.2 * disk,
        0.9 - 0.7 * rows - 0.4 * disk + 0.3 * stripes,
    ]
    dark = ((rows > 0.85) & (columns > 0.85)).double()
    return ((torch.stack(planes[:channels])[None] * (1 - dark)).clamp(0, 1) * 255).round() / 255


def photographs(folder: Path) -> None:
    """Five pictures under the names of the authors' photographs of frost."""
    for n, name in enumerate(NAMES):
        rows, columns = np.mgrid[:300, :320]
        planes = [(rows * (3 + n) + columns * k) % 256 for k in (5, 7, 11)]
        with (folder / name).open("wb") as file:
            Image.fromarray(np.stack(planes, -1).astype(np.uint8)).save(file, "PNG")


# the tests

TABLE = json.loads((Path(__file__).parent / "hendrycks.json").read_text())


@pytest.fixture(scope="module")
def frost(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frost")
    photographs(folder)
    return folder


def corrupted(table, kind, severity, frost=None, **options):
    return corrupt_as_published(
        scene(SIDES[table]), kind, severity, table=table, sample_ids=torch.tensor([7]), frost=frost, **options
    )


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", SIDES)
def test_values_are_those_of_the_published_functions_to_a_grey_level(table, kind, severity, frost):
    *values, mean = TABLE[f"{table} {kind} {severity}"]
    levels = (corrupted(table, kind, severity, frost)[0] * 255).round()
    found = levels[:, ROWS[table], COLUMNS[table]].flatten()
    assert (found - torch.tensor(values)).abs().max() <= 1
    assert abs(levels.mean().item() - mean) <= 0.1


def test_every_kind_has_five_strengths_in_both_tables():
    assert len(TABLE) == 150
    for strengths in STRENGTHS.values():
        assert tuple(strengths) == KINDS
        assert all(len(row) == 5 for row in strengths.values())
    assert (table_for(32, 32), table_for(224, 224), table_for(63, 224)) == ("cifar", "imagenet", "cifar")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_damaged_alone_as_in_its_batch(kind, channels):
    x = torch.cat([scene(32, channels), scene(32, channels).flip(3), torch.zeros(1, channels, 32, 32)])
    ids = torch.tensor([5, 2, 9])
    together = corrupt_as_published(x, kind, 4, sample_ids=ids, seed=3)
    for n in range(3):
        alone = corrupt_as_published(x[n : n + 1], kind, 4, sample_ids=ids[n : n + 1], seed=3)
        assert torch.equal(alone, together[n : n + 1])
    assert together.isfinite().all()
    assert torch.equal(together, (together * 255).round() / 255)
    assert together.shape == x.shape


@pytest.mark.parametrize("kind", KINDS)
def test_any_size_is_taken_and_the_type_is_kept(kind):
    x = torch.nn.functional.interpolate(scene(32), size=(28, 45)).float()
    out = corrupt_as_published(x, kind, 5)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert out.min() >= 0
    assert out.max() <= 1
    assert corrupt_as_published(x[:0], kind, 1).shape == (0, 3, 28, 45)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"elastic_transform", "fog", "frost", "snow"}))
def test_severity_5_changes_more_than_severity_1(kind):
    x = scene(64)
    first, last = ((corrupt_as_published(x, kind, s, table="imagenet") - x).abs().mean() for s in (1, 5))
    assert last > first


def test_a_grey_image_is_damaged_as_a_coloured_one_of_equal_channels():
    x = scene(32, 1)
    for kind in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "fog", "brightness", "contrast", "pixelate"):
        coloured = corrupt_as_published(x.expand(-1, 3, -1, -1), kind, 3)
        torch.testing.assert_close(corrupt_as_published(x, kind, 3), coloured[:, :1], rtol=0, atol=1.01 / 255)


def test_drawn_ice_has_the_light_of_the_photographs():
    from advkit.core.draws import Draws

    ice = drawn_ice(scene(224).expand(4, -1, -1, -1), Draws(0, torch.arange(4)))
    assert 0.4 < ice.mean() < 0.6
    assert 0.1 < ice.std() < 0.3


def test_glass_follows_the_published_loop_of_single_pixels():
    from advkit.core.draws import Draws
    from advkit.data.hendrycks.optical_blur import _scattered

    draws, reach = Draws(4, torch.tensor([1])), 2
    x = torch.arange(144, dtype=torch.float64).view(1, 1, 12, 12)
    slow, step = x[0, 0].clone(), torch.floor(draws.uniform(0, (12, 12, 2)) * 2 * reach).long()[0] - reach
    for h in range(12 - reach, reach, -1):
        for w in range(12 - reach, reach, -1):
            slow[h, w] = slow[h + step[h, w, 1], w + step[h, w, 0]]
    assert torch.equal(_scattered(x, reach, draws, 0)[0, 0], slow)


@pytest.mark.parametrize(
    ("kind", "severity", "x", "options", "message"),
    [
        ("gausian_noise", 1, scene(32), {}, "did you mean 'gaussian_noise'"),
        ("fog", 6, scene(32), {}, "severity from 1 to 5"),
        ("fog", True, scene(32), {}, "severity from 1 to 5"),
        ("fog", 1, scene(32), {"table": "mnist"}, "unknown table"),
        ("fog", 1, scene(32).expand(2, -1, -1, -1)[:, :2], {}, "1 or 3"),
        ("fog", 1, scene(32)[0], {}, "1 or 3"),
        ("fog", 1, scene(32) * 255, {}, r"\[0, 1\]"),
        ("frost", 1, scene(32), {"frost": "nowhere"}, "cannot read nowhere/frost1.png"),
    ],
)
def test_wrong_input_is_one_line(kind, severity, x, options, message):
    with pytest.raises(InputError, match=message) as caught:
        corrupt_as_published(x, kind, severity, **options)
    assert "\n" not in str(caught.value)


def test_photographs_that_are_none_or_too_small_are_one_line(frost, tmp_path):
    (tmp_path / "frost1.png").write_bytes((frost / "frost1.png").read_bytes()[:50])
    with pytest.raises(InputError, match="cannot read"):
        corrupted("cifar", "frost", 1, tmp_path)
    for name in NAMES:
        Image.new("RGB", (40, 40)).save(tmp_path / "small.png")
        (tmp_path / name).write_bytes((tmp_path / "small.png").read_bytes())
    with pytest.raises(InputError, match="smaller than the images"):
        corrupted("imagenet", "frost", 1, tmp_path)
