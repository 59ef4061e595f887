"""Moving pictures: the objects go where they are said to go, and the frames are the positions."""

import math

import pytest
import torch
from PIL import Image

from advkit.core.errors import InputError
from advkit.figures.circling import RADIUS, animation, circling
from advkit.figures.transformer import transformations
from advkit.insight.tracking import brightness_middle
from advkit.models.spatial_transformer import regular_grid


def blob(side: int = 41) -> torch.Tensor:
    """Two channels with a round spot each, off the middle."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    spots = [torch.exp(-((y - r) ** 2 + (x - c) ** 2) / 8) for r, c in ((15, 25), (22, 18))]
    return torch.stack(spots)[None]


def test_objects_go_round_half_a_circle_apart():
    made = circling(blob(), 8)
    assert made.shape == (8, 1, 2, 41, 41)
    for t in range(8):
        phase = 2 * math.pi * t / 8
        first, second = brightness_middle(made[t])[0]
        wanted = RADIUS * torch.tensor([math.cos(phase), math.sin(phase)], dtype=torch.float64)
        torch.testing.assert_close(first, wanted, atol=2e-3, rtol=0)
        torch.testing.assert_close(second, -wanted, atol=2e-3, rtol=0)
    with pytest.raises(InputError, match="two positions or more"):
        circling(blob(), 1)


def test_a_bar_swings_to_30_degrees_and_back():
    bar = torch.zeros(1, 1, 41, 41)
    bar[..., 19:22, 10:31] = 1  # lies along x
    made = circling(bar, 4)[:, 0, 0]
    tilts = []
    for image in made:
        column, row = brightness_middle(image[None, None])[0, 0]
        y, x = torch.meshgrid(*[(2 * torch.arange(41) + 1) / 41 - 1] * 2, indexing="ij")
        xx, xy, yy = (
            (a * b * image).sum() for a, b in ((x - column, x - column), (x - column, y - row), (y - row,) * 2)
        )
        tilts.append(math.degrees(0.5 * math.atan2(2 * xy, xx - yy)))
    assert [abs(tilt) for tilt in tilts] == pytest.approx([0, 30, 0, 30], abs=0.5)
    assert tilts[1] == pytest.approx(-tilts[3], abs=0.5)


def test_a_gif_has_a_frame_for_each_figure(tmp_path):
    x, points = torch.rand(1, 1, 6, 6), regular_grid((6, 6))[None]
    animation([transformations(shade * x, points, x) for shade in (1.0, 0.5, 0.1)], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 3
        assert picture.info["loop"] == 0
    with pytest.raises(InputError, match="one frame or more"):
        animation([], tmp_path / "b.gif")
