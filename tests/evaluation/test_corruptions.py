"""Corruptions: range and identity kept, stronger means further away, the same for an image in any batch."""

import math

import pytest
import torch
from torch import nn

from advkit import load_data, load_model
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.evaluation import corrupt, corruption_errors
from advkit.evaluation.measure.corruptions import CORRUPTIONS, SEVERITIES, rotation


def images(channels=3, side=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(6, channels, 4, 4, generator=generator), size=side, mode="bilinear")
    return (0.15 + 0.7 * smooth).to(dtype)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_type_and_range_are_kept_and_the_images_are_not_touched(name, channels, dtype):
    x = images(channels, dtype=dtype)
    before = x.clone()
    for severity in SEVERITIES:
        out = corrupt(x, name, severity)
        assert (out.shape, out.dtype) == (x.shape, x.dtype)
        assert 0 <= out.min() <= out.max() <= 1
        assert not torch.equal(out, x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_more_severity_is_further_away(name):
    x = images()
    sizes = [(corrupt(x, name, severity) - x).norm().item() for severity in SEVERITIES]
    assert sizes == sorted(sizes)
    assert sizes[4] > 1.5 * sizes[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_0_changes_nothing(name):
    x = images(dtype=torch.float64)
    apply, _ = CORRUPTIONS[name]
    strength = 1e-9
    torch.testing.assert_close(apply(x, strength, Draws(0, torch.arange(6))), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_gets_the_same_damage_in_any_batch(name):
    x = images(dtype=torch.float64)
    whole = corrupt(x, name, 3, seed=5)
    order = torch.tensor([4, 1])
    torch.testing.assert_close(corrupt(x[order], name, 3, seed=5, sample_ids=order), whole[order], atol=1e-12, rtol=0)
    if name.endswith("noise"):
        assert not torch.equal(corrupt(x, name, 3, seed=6), whole)


def test_each_does_what_its_name_says():
    x = torch.full((400, 3, 8, 8), 0.5, dtype=torch.float64)
    assert corrupt(x, "gaussian_noise", 1).std().item() == pytest.approx(0.04, rel=0.02)
    assert (corrupt(x, "impulse_noise", 5) != 0.5).double().mean().item() == pytest.approx(0.17, rel=0.03)
    assert corrupt(x, "blur", 5).sub(0.5).abs().max() < 1e-12
    assert set(corrupt(x, "brightness", 2).flatten(1)[:, 0].round(decimals=9).tolist()) == {0.4, 0.6}
    ramp = torch.linspace(0.2, 0.6, 64, dtype=torch.float64).view(1, 1, 8, 8)
    assert corrupt(ramp, "contrast", 2).std() == pytest.approx(ramp.std() / 2)
    assert corrupt(ramp, "contrast", 2).mean() == pytest.approx(0.4)
    changed = (corrupt(x, "colour_cast", 3) != x).flatten(2).any(2)
    assert (changed.sum(1) == 1).all()
    assert (changed.sum(0) > 90).all()
    corners = corrupt(x, "vignette", 5)[0, 0]
    assert corners[0, 0].item() == pytest.approx(0.0)
    assert corners[3, 3] > 0.45


def test_a_quarter_turn_is_torchs():
    x = images(dtype=torch.float64)
    turned = rotation(x, 90.0, Draws(0, torch.arange(6)))
    for before, after in zip(x, turned, strict=True):
        left, right = torch.rot90(before, 1, (1, 2)), torch.rot90(before, -1, (1, 2))
        assert min((after - left).abs().max().item(), (after - right).abs().max().item()) < 1e-6


def test_the_errors_are_those_counted_by_hand_and_their_mean():
    model, data = load_model("mlp"), load_data("mnist5k")
    report = corruption_errors(model, data, names=["blur", "rotation"], severities=(1, 5), count=100, batch_size=30)
    ids = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:100].sort().values
    x, y = data[ids]
    with torch.no_grad():
        for name in ("blur", "rotation"):
            for i, severity in enumerate((1, 5)):
                wrong = model(corrupt(x, name, severity, sample_ids=ids)).argmax(1) != y
                assert report.wrong[name][i] == int(wrong.sum())
    assert report.clean_error < report.error("rotation")
    assert report.mean_error == pytest.approx(sum(map(sum, report.wrong.values())) / 400)
    found = report.to_dict()
    assert found["corruptions"]["blur"]["errors"] == [w / 100 for w in report.wrong["blur"]]
    assert math.isclose(found["mean_error"], report.mean_error)


def test_grey_images_have_no_casts_by_default():
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    grey = corruption_errors(net, (images(1), torch.zeros(6).long()), severities=(1,))
    assert set(grey.wrong) == set(CORRUPTIONS) - {"colour_cast"}
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    assert set(corruption_errors(net, (images(3), torch.zeros(6).long()), severities=(1,)).wrong) == set(CORRUPTIONS)


def test_wrong_input_is_one_clear_line():
    x = images()
    with pytest.raises(InputError, match="did you mean 'blur'"):
        corrupt(x, "blurr", 1)
    with pytest.raises(InputError, match="severity from 1 to 5, got 6"):
        corrupt(x, "blur", 6)
    with pytest.raises(InputError, match="out of bounds"):
        corrupt(x * 3, "blur", 1)
    with pytest.raises(InputError, match="expected images"):
        corrupt(x[:, 0], "blur", 1)
    with pytest.raises(InputError, match="at least one corruption"):
        corruption_errors(nn.Flatten(), (x, torch.zeros(6).long()), names=[])
