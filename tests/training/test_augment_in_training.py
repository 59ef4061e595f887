"""Augmentation: small motions of the image, each image its own, and nothing else."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.core.errors import InputError
from advkit.training import Augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 5, height: int = 9, width: int = 9) -> Tensor:
    return torch.rand(n, 2, height, width, generator=generator(9))


def blob(height: int, width: int, row: float, column: float) -> Tensor:
    """A smooth spot at a place in pixels, (1, 1, H, W)."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)[None, None]


def centre(x: Tensor) -> tuple[float, float]:
    """Of mass, in pixels from the middle of the image."""
    image = x[0, 0].double()
    rows = torch.arange(image.shape[0])[:, None] - (image.shape[0] - 1) / 2
    columns = torch.arange(image.shape[1]) - (image.shape[1] - 1) / 2
    return float((image * rows).sum() / image.sum()), float((image * columns).sum() / image.sum())


def test_nothing_asked_for_changes_nothing() -> None:
    torch.testing.assert_close(Augment()(images(), generator()), images(), rtol=0, atol=1e-5)


def test_the_same_generator_gives_the_same_images_and_the_global_state_stays() -> None:
    state, augment = torch.get_rng_state(), Augment(rotation=20, shift=2, scale=0.2, mirror=True)
    assert torch.equal(augment(images(), generator()), augment(images(), generator()))
    assert not torch.equal(augment(images(), generator()), augment(images(), generator(1)))
    assert torch.equal(state, torch.get_rng_state())


def test_pixels_stay_in_their_range_and_the_input_as_it_is() -> None:
    x = torch.ones(50, 1, 16, 16)
    moved = Augment(rotation=30, shift=3, scale=0.3)(x, generator())
    assert 0 <= moved.min() <= moved.max() <= 1
    assert (x == 1).all()


def test_channels_move_together() -> None:
    x = images()[:, :1].repeat(1, 2, 1, 1)
    moved = Augment(rotation=20, shift=2)(x, generator())
    assert torch.equal(moved[:, 0], moved[:, 1])


@pytest.mark.parametrize(("height", "width"), [(31, 31), (31, 61), (61, 31)])
def test_rotation_keeps_distances_in_pixels_and_stays_within_the_angle(height: int, width: int) -> None:
    x = blob(height, width, height // 2 + 8, width // 2 + 3).repeat(40, 1, 1, 1)
    moved = Augment(rotation=30)(x, generator())
    angles = []
    for image in moved:
        row, column = centre(image[None])
        assert math.hypot(row, column) == pytest.approx(math.hypot(8, 3), abs=0.1)
        angles.append(math.degrees(math.atan2(row, column) - math.atan2(8, 3)))
    assert max(map(abs, angles)) < 31
    assert max(angles) > 15
    assert min(angles) < -15


@pytest.mark.parametrize(("height", "width"), [(31, 31), (31, 61)])
def test_shifts_are_in_pixels_along_both_axes(height: int, width: int) -> None:
    x = blob(height, width, height // 2, width // 2).repeat(60, 1, 1, 1)
    places = torch.tensor([centre(image[None]) for image in Augment(shift=4)(x, generator())])
    assert places.abs().max() < 4.1
    assert (places.amax(0) > 2.5).all()
    assert (places.amin(0) < -2.5).all()


def test_scale_changes_distances_by_the_factor() -> None:
    x = blob(61, 61, 30 + 20, 30).repeat(60, 1, 1, 1)
    rows = [centre(image[None])[0] for image in Augment(scale=0.2)(x, generator())]
    assert min(rows) == pytest.approx(16, abs=0.7)
    assert max(rows) == pytest.approx(24, abs=0.7)


def test_mirror_turns_about_half_of_the_images_and_only_left_and_right() -> None:
    x = images(200)
    moved = Augment(mirror=True)(x, generator())
    turned = [torch.allclose(a, b.flip(2), atol=1e-5) for a, b in zip(moved, x, strict=True)]
    kept = [torch.allclose(a, b, atol=1e-5) for a, b in zip(moved, x, strict=True)]
    assert all(a != b for a, b in zip(turned, kept, strict=True))
    assert 70 < sum(turned) < 130


def test_the_maps_are_those_of_affine_grid() -> None:
    augment, x = Augment(rotation=10, shift=1, scale=0.1), images()
    grid = F.affine_grid(augment.maps(x.shape, generator()), list(x.shape), align_corners=False)
    expected = F.grid_sample(x, grid, align_corners=False)
    torch.testing.assert_close(augment(x, generator()), expected)


@pytest.mark.parametrize(
    "options", [{"rotation": -1}, {"shift": -1}, {"scale": 1}, {"scale": -0.1}, {"shift": math.nan}]
)
def test_impossible_amounts_are_refused(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(InputError, match=f"rotation|expects {name} as a finite number"):
        Augment(**options)  # type: ignore[arg-type]
