"""Crops at test time: torchvision's, averaged as probabilities, in a network that can be evaluated and attacked."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from advkit.attacks import FGSM
from advkit.core.errors import InputError
from advkit.models import create_model
from advkit.training.augment import CropAverage, multi_scale, ten_crop, vgg_scales


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
