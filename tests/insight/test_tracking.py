"""What a transformer follows: crops that move with a channel by construction."""

import pytest
import torch

from advkit.core.errors import InputError
from advkit.insight import tracking
from advkit.insight.tracking import brightness_middle
from advkit.models.spatial_transformer import Affine


def spots(count: int = 40, side: int = 20):
    """Images of two channels, each with one light pixel, and the pixels' places (N, 2, 2), column and row."""
    places = torch.randint(side, (count, 2, 2), generator=torch.Generator().manual_seed(0))
    x = torch.zeros(count, 2, side, side)
    for i in range(count):
        for channel in (0, 1):
            column, row = places[i, channel].tolist()
            x[i, channel, row, column] = 0.7
    return x, (2 * places + 1) / side - 1


def crops(middle: torch.Tensor) -> torch.Tensor:
    """Turned crops of half the size around middles (N, 2)."""
    A = torch.tensor([[0.3, -0.4], [0.4, 0.3]]).expand(len(middle), 2, 2)
    return Affine((6, 8))(torch.cat([A, middle[:, :, None]], 2).flatten(1))


def test_the_middle_of_one_light_pixel_is_the_pixel():
    x, places = spots()
    torch.testing.assert_close(brightness_middle(x), places.double(), atol=1e-6, rtol=0)
    assert not brightness_middle(torch.zeros(1, 1, 4, 4)).any()


@pytest.mark.parametrize("channel", [0, 1])
def test_a_crop_around_a_channels_pixel_follows_that_channel_alone(channel):
    x, places = spots()
    found = tracking(crops(0.5 * places[:, channel].float() + 0.2), x)
    assert found[channel] == pytest.approx(1, abs=1e-6)
    assert abs(found[1 - channel]) < 0.35  # 40 images; the standard deviation is .11


def test_a_crop_that_flees_has_minus_one_and_one_that_rests_has_none():
    x, places = spots()
    assert tracking(crops(-places[:, 0].float()), x)[0] == pytest.approx(-1, abs=1e-6)
    assert tracking(crops(torch.zeros(len(x), 2)), x).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_too_few_images_and_other_numbers_of_grids_are_refused():
    x, places = spots(3)
    for points, images in ((crops(places[:2, 0].float()), x[:2]), (crops(places[:2, 0].float()), x)):
        with pytest.raises(InputError, match="three images or more"):
            tracking(points, images)
