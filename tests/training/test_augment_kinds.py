"""Augmentations: what each says that it does, by its formula or against torchvision."""

import math

import pytest
import torch
from helpers.augment import H, N, W, draws, images, numbers
from torchvision.transforms.v2 import functional

from advkit.training import Augment
from advkit.training.augment import (
    Affine,
    ColourCast,
    Elastic,
    Mirror,
    PCAColour,
    RandomPatch,
    RotateCrop,
    ScaleJitter,
    Stretch,
    Vignette,
)


def test_a_patch_is_torchvisions_crop_and_every_place_is_as_likely() -> None:
    x, augment = images(400, 7, 9), RandomPatch(size=5, padding=1)
    places = []
    for image, patch in zip(x, augment(x, draws(400)), strict=True):
        padded = functional.pad(image, [1])
        fits = [(i, j) for i in range(5) for j in range(7) if torch.equal(functional.crop(padded, i, j, 5, 5), patch)]
        assert len(fits) == 1
        places += fits
    assert set(places) == {(i, j) for i in range(5) for j in range(7)}
    assert max(places.count(place) for place in set(places)) < 30  # of 400 / 35 = 11.4 expected


def test_a_mirror_turns_its_part_of_the_images() -> None:
    x = images(400)
    y = Mirror(p=0.25)(x, draws(400))
    turned = (y == functional.horizontal_flip(x)).flatten(1).all(1)
    assert ((y == x).flatten(1).all(1) ^ turned).all()
    assert 70 < turned.sum() < 130


@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 44), (50, 37)])
def test_random_scales_are_torchvisions_resize_and_crop(height: int, width: int) -> None:
    """One image after the other, through the whole resized image."""
    x, augment = images(12, height, width), ScaleJitter(low=16, high=64, size=14)
    given = numbers(12)
    scales = given.integer(16, 64)
    sides = [scales * side // min(height, width) for side in (height, width)]
    tops, lefts = (given.integer(0, side - 14) for side in sides)
    for i, patch in enumerate(augment(x, draws(12))):
        resized = functional.resize(x[i], [int(scales[i])], antialias=True)
        assert resized.shape[1:] == (int(sides[0][i]), int(sides[1][i]))
        expected = functional.crop(resized, int(tops[i]), int(lefts[i]), 14, 14)
        torch.testing.assert_close(patch, expected, rtol=0, atol=1e-6)
    assert scales.min() < 28
    assert scales.max() > 50


def test_pca_colour_is_the_papers_formula() -> None:
    x = images() * 0.2 + 0.4
    augment = PCAColour.fit(images(), sd=0.5)
    pixels = images().transpose(0, 1).flatten(1)
    covariance = torch.cov(pixels, correction=0)
    p, l = torch.tensor(augment.vectors).double(), torch.tensor(augment.values).double()  # noqa: E741
    torch.testing.assert_close(p.T @ l.diag() @ p, covariance, rtol=0, atol=1e-6)
    torch.testing.assert_close(p @ p.T, torch.eye(3).double(), rtol=0, atol=1e-6)
    assert l.tolist() == sorted(l.tolist(), reverse=True)
    a = 0.5 * numbers().normal((3,))
    for i, image in enumerate(augment(x, draws())):
        added = sum(p[k] * a[i, k] * l[k] for k in range(3))
        torch.testing.assert_close(image - x[i], added[:, None, None].expand(3, H, W), rtol=0, atol=1e-7)


def test_pca_colour_with_roots_does_not_depend_on_the_unit() -> None:
    dark = images() / 4
    bright, faint = (PCAColour.fit(x, sd=0.01, root=True) for x in (images(), dark))
    added = bright(images() * 0.2 + 0.4, draws()) - (images() * 0.2 + 0.4)
    less = faint(dark * 0.2 + 0.4, draws()) - (dark * 0.2 + 0.4)
    torch.testing.assert_close(less * 4, added, rtol=1e-6, atol=1e-9)


def test_pca_colour_has_the_spread_that_it_says() -> None:
    grey = torch.full((4000, 3, 1, 1), 0.5, dtype=torch.float64)
    augment = PCAColour(vectors=((1, 0, 0), (0, 1, 0), (0, 0, 1)), values=(0.4, 0.2, 0.0), sd=0.1)
    spread = (augment(grey, draws(4000)) - grey)[..., 0, 0].std(0)
    assert spread.tolist() == pytest.approx([0.04, 0.02, 0], rel=0.05)


def test_a_cast_adds_one_number_to_a_channel() -> None:
    x = images(600) * 0.2 + 0.4
    added = ColourCast(amount=0.1, p=0.25, channels=(0, 2))(x, draws(600)) - x
    per_channel = added.mean((2, 3))
    torch.testing.assert_close(added, per_channel[:, :, None, None].expand_as(added), rtol=0, atol=1e-12)
    assert (per_channel[:, 1].abs() < 1e-12).all()
    altered = per_channel[:, [0, 2]].abs() > 1e-9
    assert 110 < altered[:, 0].sum() < 190
    assert 0.095 < per_channel.abs().max() <= 0.1
    assert 10 < altered.all(1).sum() < 75  # channels are drawn independently: a sixteenth of 600


def test_a_vignette_darkens_outwards_from_its_radius() -> None:
    x = torch.ones(200, 1, 41, 51, dtype=torch.float64)
    y = Vignette(strength=0.6, radius=0.4)(x, draws(200))[:, 0]
    assert (y[:, 20, 25] == 1).all()
    assert (y[:, 20].diff()[:, 25:] <= 0).all()
    corners = y[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners - corners[:, :1]).abs().max() < 1e-12
    assert 0.4 <= corners.min() < 0.5
    assert corners.max() > 0.95
    begins = (y[:, 20, 25:] < 1).double().argmax(1)
    assert begins.min() <= 3
    assert begins.max() > 12  # of 26, where the side is at .7 of the corner's distance


def test_a_vignette_is_its_formula() -> None:
    x, given = images(), numbers()
    r, s = given.uniform(0, 0.4), given.uniform(0, 0.6)
    y = Vignette(strength=0.6, radius=0.4)(x, draws())
    for n in range(N):
        for i, j in ((0, 0), (3, 20), (10, 1), (9, 12)):
            d = math.hypot((i + 0.5) / H * 2 - 1, (j + 0.5) / W * 2 - 1) / math.sqrt(2)
            t = max(d - float(r[n]), 0) / (1 - float(r[n]))
            torch.testing.assert_close(y[n, :, i, j], x[n, :, i, j] * (1 - float(s[n]) * t * t))


@pytest.mark.parametrize(("height", "width"), [(31, 31), (25, 40)])
def test_affine_is_torchvisions(height: int, width: int) -> None:
    """Without shifts, which torchvision measures before the other changes and here after them."""
    x, augment = images(8, height, width), Affine(rotation=40, shift=0, scale=0.3, shear=20)
    given = numbers(8)
    angle, _, _ = (given.uniform(-1, 1) for _ in range(3))
    scale, shear = given.uniform(0.7, 1.3), given.uniform(-1, 1)
    for i, moved in enumerate(augment(x, draws(8))):
        expected = functional.affine(
            x[i],
            angle=-40 * float(angle[i]),
            translate=[0, 0],
            scale=float(scale[i]),
            shear=[20 * float(shear[i]), 0],
            interpolation=functional.InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-9)


def test_affine_shifts_are_in_pixels() -> None:
    x = torch.zeros(300, 1, 31, 41, dtype=torch.float64)
    x[:, :, 15, 20] = 1
    y = Affine(rotation=0, shift=3, scale=0, shear=0)(x, draws(300))[:, 0]
    rows, columns = torch.arange(31) - 15.0, torch.arange(41) - 20.0
    places = torch.stack([(y.sum(2) * rows).sum(1), (y.sum(1) * columns).sum(1)], 1)
    assert 2.8 < places.abs().max() <= 3
    assert places.mean(0).abs().max() < 0.3
    assert abs(float(torch.corrcoef(places.T)[0, 1])) < 0.2


@pytest.mark.parametrize(("height", "width"), [(31, 31), (25, 40)])
def test_elastic_is_torchvisions_with_the_same_fields(height: int, width: int) -> None:
    x, augment = images(4, height, width), Elastic(alpha=30, sigma=3)
    moves = augment.fields(x, numbers(4))
    for i, moved in enumerate(augment(x, draws(4))):
        units = moves[i].permute(1, 2, 0)[None] * 2 / torch.tensor([width, height])
        expected = functional.elastic(x[i], units)
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


def test_elastic_fields_are_as_large_and_as_smooth_as_they_say() -> None:
    moves = Elastic().fields(torch.zeros(20, 1, 100, 100, dtype=torch.float64), numbers(20))
    inner = moves[:, :, 20:80, 20:80]
    assert inner.std() == pytest.approx(34 * math.sqrt(1 / 3) / (2 * 4 * math.sqrt(math.pi)), rel=0.05)  # 1.38
    step = inner.diff(dim=3).std() / inner.std()  # of a field smoothed by a Gaussian: about 1 / (sigma sqrt 2)
    assert step == pytest.approx(1 / (4 * math.sqrt(2)), rel=0.05)
    assert Elastic().fields(images(height=9, width=7), numbers()).shape == (N, 2, 9, 7)


def test_stretch_magnifies_about_the_middle_each_side_by_itself() -> None:
    ramp = torch.linspace(0.1, 0.9, 33, dtype=torch.float64)
    x = torch.stack([ramp.expand(33, 33), ramp[:, None].expand(33, 33)])[None].expand(100, 2, 33, 33)
    y = Stretch(horizontal=0.5, vertical=0.25)(x, draws(100))
    assert torch.allclose(y[:, :, 16, 16], x[:, :, 16, 16])
    wide = (ramp[1] - ramp[0]) / (y[:, 0, 16, 17] - y[:, 0, 16, 16])
    high = (ramp[1] - ramp[0]) / (y[:, 1, 17, 16] - y[:, 1, 16, 16])
    assert 1 <= wide.min() < 1.05 < 1.45 < wide.max() <= 1.5 + 1e-9
    assert 1 <= high.min() < 1.03 < 1.22 < high.max() <= 1.25 + 1e-9
    assert abs(float(torch.corrcoef(torch.stack([wide, high]))[0, 1])) < 0.3


def test_a_rotation_with_a_crop_holds_no_outside_and_is_no_smaller_than_it_must() -> None:
    """A frame of zeros around ones: its inner edge is where the outside begins."""
    for height, width in ((40, 40), (30, 60), (60, 30)):
        augment = RotateCrop(degrees=30)
        x = torch.zeros(60, 1, height, width, dtype=torch.float64)
        x[:, :, 1:-1, 1:-1] = 1
        y = augment(x, draws(60))[:, 0]
        edges = torch.cat([y[:, 0], y[:, -1], y[:, :, 0], y[:, :, -1]], 1)
        assert (y[:, 4:-4, 4:-4] > 1 - 1e-9).all()
        assert (edges.amin(1) < 1).all()  # some corner touches the frame


def test_a_rotation_with_a_crop_turns_by_up_to_its_angle() -> None:
    rows, columns = torch.arange(61.0)[:, None] - 30, torch.arange(61.0) - 30
    spot = torch.exp(-(rows.square() + (columns - 8).square()) / 8)
    y = RotateCrop(degrees=20)(spot.expand(60, 1, 61, 61), draws(60))[:, 0].double()
    down, right = (y * rows).sum((1, 2)), (y * columns).sum((1, 2))
    angles = torch.atan2(down, right).rad2deg()
    assert angles.abs().max() == pytest.approx(20, abs=1.5)
    assert angles.min() < -15
    assert angles.max() > 15


def test_the_old_augmentation_keeps_its_bits() -> None:
    """As it was before it took Draws: the recipes' results hang on it."""
    augment = Augment(rotation=10, shift=2, scale=0.1, mirror=True)
    x = images(channels=1).float()
    angle, zoom, right, down, turn = torch.rand(5, N, generator=torch.Generator().manual_seed(3)).mul_(2).sub_(1)
    angle = angle * 10.0 * (torch.pi / 180)
    zoom = 1 / (1 + zoom * 0.1)
    sign = torch.where(turn < 0, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    row_x = [cos * sign, -sin * H / W, right * 2.0 * 2 / W]
    row_y = [sin * sign * W / H, cos, down * 2.0 * 2 / H]
    maps = torch.stack([torch.stack(row_x, 1), torch.stack(row_y, 1)], 1)
    grid = torch.nn.functional.affine_grid(maps, list(x.shape), align_corners=False)
    expected = torch.nn.functional.grid_sample(x, grid, padding_mode="zeros", align_corners=False).clamp_(0, 1)
    assert torch.equal(augment(x, torch.Generator().manual_seed(3)), expected)
