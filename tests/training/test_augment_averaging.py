"""Crops at test time: torchvision's, averaged as probabilities, in a network that can be evaluated and attacked."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from advkit.attacks import FGSM
from advkit.core.errors import InputError
from advkit.models import create_model
from advkit.training.augment import CropAverage, googlenet_crops, googlenet_scales, multi_scale, ten_crop, vgg_scales


def images(n: int = 3, height: int = 12, width: int = 14) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0))


def network(size: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 5))


def test_the_ten_crops_are_torchvisions() -> None:
    views = ten_crop(network(), size=8).views(images())
    expected = v2.TenCrop(8)(images())
    assert len(views) == 10
    assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))
    five = CropAverage(network(), size=8, crops=5).views(images())
    assert all(torch.equal(a, b) for a, b in zip(five, v2.FiveCrop(8)(images()), strict=True))
    assert torch.equal(CropAverage(network(), size=8, crops=1).views(images())[0], v2.CenterCrop(8)(images()))


def test_the_softmax_is_the_mean_of_the_softmaxes() -> None:
    model = network()
    expected = torch.stack([model(crop).softmax(1) for crop in v2.TenCrop(8)(images())]).mean(0)
    torch.testing.assert_close(ten_crop(model, size=8)(images()).softmax(1), expected)
    torch.testing.assert_close(ten_crop(model, size=8)(images()).exp(), expected)
    assert ten_crop(model.double(), size=8)(images().double()).dtype == torch.float64


def test_one_crop_of_the_images_size_changes_no_probability() -> None:
    model = network()
    alone = CropAverage(model, size=8, crops=1)(images(3, 8, 8))
    torch.testing.assert_close(alone.softmax(1), model(images(3, 8, 8)).softmax(1))


def test_a_mirror_image_gets_the_same_answer() -> None:
    average = ten_crop(network(), size=8)
    torch.testing.assert_close(average(images().flip(3)), average(images()))


def test_several_scales_are_resized_and_cropped_in_turn() -> None:
    model = network()
    average = multi_scale(model, size=8, scales=(8, 10, 17), crops=5)
    views = average.views(images())
    assert len(views) == 15
    resized = v2.functional.resize(images(), [17], antialias=True).clamp(0, 1)
    assert torch.equal(views[14], v2.CenterCrop(8)(resized))
    expected = torch.stack([model(crop).softmax(1) for crop in views]).mean(0)
    torch.testing.assert_close(average(images()).softmax(1), expected)


def test_vggs_scales() -> None:
    assert vgg_scales(256) == (224, 256, 288)
    assert vgg_scales(256, 512) == (256, 384, 512)


def test_googlenets_scales_are_the_papers() -> None:
    assert googlenet_scales(224) == (256, 288, 320, 352)


@pytest.mark.parametrize(("height", "width"), [(12, 17), (17, 12)])
def test_googlenets_144_crops_are_six_views_of_three_squares_at_four_scales_and_mirrored(
    height: int, width: int
) -> None:
    """By hand, with the crops in another order."""
    model, x, resize = network(7), images(2, height, width), v2.functional.resize
    expected = []
    for scale in (8, 9, 10, 11):
        scaled = resize(x, [scale], antialias=True).clamp(0, 1)
        longer = max(scaled.shape[2:])
        for start in (0, (longer - scale) // 2, longer - scale):
            top, left = (start, 0) if height > width else (0, start)
            square = v2.functional.crop(scaled, top, left, scale, scale)
            last = scale - 7
            corners = [(0, 0), (0, last), (last, 0), (last, last)]
            six = [v2.functional.crop(square, i, j, 7, 7) for i, j in corners]
            six += [v2.functional.center_crop(square, [7]), resize(square, [7, 7], antialias=True).clamp(0, 1)]
            expected += [*six, *(view.flip(3) for view in six)]
    views = googlenet_crops(model, size=7).views(x)
    assert len(views) == len(expected) == 144
    seen, wanted = (torch.stack(some).flatten(1) for some in (views, expected))
    assert sorted(row.numpy().tobytes() for row in seen) == sorted(row.numpy().tobytes() for row in wanted)
    mean = torch.stack([model(view).softmax(1) for view in expected]).mean(0)
    torch.testing.assert_close(googlenet_crops(model, size=7)(x).softmax(1), mean)


def test_the_three_squares_of_a_square_image_are_looked_at_once() -> None:
    average = googlenet_crops(network(7), size=7)
    assert len(average.views(images(2, 12, 12))) == 48
    assert len(average.views(images(2, 12, 14))) == 144


@pytest.mark.parametrize(("height", "width"), [(12, 16), (15, 12), (8, 8)])
def test_vggs_50_crops_are_a_grid_from_corner_to_corner_and_mirrored(height: int, width: int) -> None:
    x = images(2, height, width)
    views = CropAverage(network(), size=8, crops=50).views(x)
    assert len(views) == 50
    tops, lefts = (torch.linspace(0, side - 8, 5, dtype=torch.float64).round().long() for side in (height, width))
    for number, (top, left) in enumerate((int(top), int(left)) for top in tops for left in lefts):
        assert torch.equal(views[2 * number], v2.functional.crop(x, top, left, 8, 8))
        assert torch.equal(views[2 * number + 1], views[2 * number].flip(3))
    if (height, width) != (8, 8):
        corners = v2.FiveCrop(8)(x)
        assert all(any(torch.equal(corner, view) for view in views) for corner in corners)
    assert len(multi_scale(network(), size=8, scales=(9, 12), crops=50).views(x)) == 100


def test_the_size_is_that_of_the_networks_card() -> None:
    model = create_model("lenet5", input_shape=(3, 32, 32))
    average = ten_crop(model)
    assert average.size == 32
    assert average(images(2, 36, 40)).shape == (2, 10)
    assert not average.eval().model.training
    with pytest.raises(InputError, match="give size="):
        ten_crop(network())


def test_the_average_can_be_attacked() -> None:
    average, x, y = ten_crop(network(), size=8), images(8), torch.arange(8) % 5
    result = FGSM(eps=0.1)(average, x, y, stop="never")
    before, after = (average(z)[torch.arange(8), y] for z in (x, result.x_adv))
    assert (after <= before + 1e-6).all()
    assert (after < before).sum() >= 7
    assert (result.x_adv - x).abs().amax() <= 0.1 + 1e-6


def test_wrong_numbers_are_refused() -> None:
    for options, message in (
        ({"crops": 4}, "crops to be one of"),
        ({"scales": (8, 7)}, "scales of 8 or more"),
        ({"scales": ()}, "scales of 8 or more"),
    ):
        with pytest.raises(InputError, match=message):
            CropAverage(network(), size=8, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected images of 13 pixels or more"):
        ten_crop(network(13), size=13)(images())
