"""The picture of an attack: what is drawn where, and that nothing global is touched."""

import sys

import pytest
import torch
from matplotlib.colors import to_hex

from advkit.core.errors import InputError
from advkit.figures import examples
from advkit.figures._examples import CHANNELS, RIGHT, WRONG, _factor, _shown, visible


def batch(n=3, channels=1, eps=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, channels, 8, 8, generator=generator) * 0.6 + 0.2
    delta = eps * torch.randn(n, channels, 8, 8, generator=generator).sign()
    logits = torch.eye(10)[:n] * 9
    return x, x + delta, torch.arange(n), {"logits": logits, "logits_adv": logits.roll(1, 1)}


def drawn(figure, row, column):
    columns = len(figure.axes) // 3
    return figure.axes[row * columns + column]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 6])
def test_the_three_rows_show_clean_perturbation_and_adversarial(n, channels):
    x, x_adv, y, logits = batch(n, channels)
    figure = examples(x, x_adv, y, **logits)
    assert len(figure.axes) == 3 * n
    for i in range(n):
        for row, image in ((0, x[i]), (2, x_adv[i])):
            pixels = torch.as_tensor(drawn(figure, row, i).images[0].get_array().data)
            assert torch.allclose(pixels.reshape(8, 8, channels).permute(2, 0, 1), image, atol=1e-6)
        added = torch.as_tensor(drawn(figure, 1, i).images[0].get_array().data).reshape(8, 8, channels).permute(2, 0, 1)
        assert torch.equal((added > 0.5), (x_adv - x)[i] > 0)


@pytest.mark.parametrize("eps", [1e-6, 0.007, 0.5])
def test_the_perturbation_fills_the_range_and_says_by_how_much(eps):
    delta = torch.tensor([[[eps, -eps / 2, 0.0]]], dtype=torch.float64)
    shown, scale = _shown(delta)
    assert shown.flatten().tolist() == pytest.approx([1.0, 0.25, 0.5])
    assert scale == pytest.approx(0.5 / eps)


def test_no_perturbation_is_grey_and_called_unchanged():
    x, _, y, logits = batch(1)
    figure = examples(x, x, y, **logits)
    assert drawn(figure, 1, 0).get_title() == "unchanged"
    assert set(drawn(figure, 1, 0).images[0].get_array().data.ravel().tolist()) == {0.5}


def test_sizes_stand_before_the_factors_where_something_was_added():
    x, x_adv, y, logits = batch(2)
    x_adv[1] = x[1]
    figure = examples(x, x_adv, y, sizes=["l2 1.23", "l2 0"], **logits)
    assert drawn(figure, 1, 0).get_title().startswith("l2 1.23, x ")
    assert drawn(figure, 1, 1).get_title() == "unchanged"
    with pytest.raises(InputError, match="expected sizes with one word for each of 2 images, got 1"):
        examples(x, x_adv, y, sizes=["l2 1.23"], **logits)


@pytest.mark.parametrize(
    ("scale", "text"), [(71.43, "71"), (2.54, "2.5"), (0.5, "0.5"), (5e6, "5e+06"), (99_999, "99999")]
)
def test_factors_are_short(scale, text):
    assert _factor(scale) == text


def test_labels_name_the_class_and_its_confidence_and_colour_says_right_or_wrong():
    x, x_adv, y, logits = batch(2)
    figure = examples(x, x_adv, y, classes=["zero", "one", "a very long name of a class", *"3456789"], **logits)
    assert drawn(figure, 0, 0).get_title() == "zero  99.9 %"
    assert drawn(figure, 2, 0).get_title() == "one  99.9 %"
    assert drawn(figure, 2, 1).get_title().startswith("a very long nam\N{HORIZONTAL ELLIPSIS}")
    assert to_hex(drawn(figure, 0, 0).title.get_color()) == RIGHT
    assert to_hex(drawn(figure, 2, 0).title.get_color()) == WRONG


def test_pixels_are_not_smoothed_and_grey_is_not_stretched():
    x, x_adv, y, logits = batch(1)
    image = drawn(examples(x, x_adv, y, **logits), 0, 0).images[0]
    assert image.get_interpolation() == "nearest"
    assert (image.norm.vmin, image.norm.vmax) == (0, 1)


def test_other_bounds_show_the_same_picture():
    x, x_adv, y, logits = batch(1)
    wide = examples(x * 255, x_adv * 255, y, bounds=(0, 255), **logits)
    for row in range(3):
        ours = torch.as_tensor(drawn(wide, row, 0).images[0].get_array().data)
        other = torch.as_tensor(drawn(examples(x, x_adv, y, **logits), row, 0).images[0].get_array().data)
        assert torch.allclose(ours, other, atol=1e-4)


def test_the_file_is_a_png_and_pyplot_is_not_even_imported(tmp_path):
    x, x_adv, y, logits = batch(6)
    path = tmp_path / "picture.png"
    before = sys.modules.get("matplotlib.pyplot")
    examples(x, x_adv, y, title="FGSM, eps 0.1", path=path, **logits)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert sys.modules.get("matplotlib.pyplot") is before


def test_shapes_and_suffixes_that_do_not_fit_are_named(tmp_path):
    x, x_adv, y, logits = batch(2)
    with pytest.raises(InputError, match="one shape"):
        examples(x, x_adv[:1], y, **logits)
    with pytest.raises(InputError, match="C 1 to 3"):
        examples(x.expand(-1, 4, -1, -1), x_adv.expand(-1, 4, -1, -1), y, **logits)
    with pytest.raises(InputError, match="expected y with one row"):
        examples(x, x_adv, y[:1], **logits)
    with pytest.raises(InputError, match="images out of bounds"):
        examples(x * 255, x_adv * 255, y, **logits)
    with pytest.raises(InputError, match="low < high"):
        examples(x, x_adv, y, bounds=(1, 0), **logits)
    with pytest.raises(InputError, match="end the name with"):
        examples(x, x_adv, y, path=tmp_path / "picture.xyz", **logits)


def test_two_channels_are_orange_and_blue_and_white_where_both_are_light():
    image = torch.zeros(2, 1, 4)
    image[0, 0, 1] = image[1, 0, 2] = 1
    image[:, 0, 3] = 1
    black, first, second, both = visible(image)[:, 0].T
    assert black.tolist() == [0, 0, 0]
    torch.testing.assert_close(first, torch.tensor(CHANNELS[0]))
    torch.testing.assert_close(second, torch.tensor(CHANNELS[1]))
    torch.testing.assert_close(both, torch.ones(3))
    for channels in (1, 3):
        assert torch.equal(visible(torch.ones(channels, 1, 1)), torch.ones(channels, 1, 1))
