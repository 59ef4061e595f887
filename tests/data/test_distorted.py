"""Distorted digits: each is where its variant says, and depends on its number alone."""

import hashlib

import pytest
import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError, UnknownNameError
from advkit.data import distorted_mnist as module
from advkit.data import load_data
from advkit.data.distorted_mnist import FRAME, PATCH, PATCHES, VARIANTS, DistortedMNIST

NAMES = list(VARIANTS)
MANY = Draws(5, torch.arange(4000))
TEST = load_data("mnist5k", split="test").tensors()


SHIPPED_DIGESTS = {
    "R": "95822dc5f526",
    "RTS": "215f364bd96a",
    "P": "68ebf3b61c71",
    "E": "3ecf43d07907",
    "cluttered": "4a7932393a29",
}
"""Of the first 40 test images; the figures of the shipped checkpoints were measured on these."""


def near_uniform(values: Tensor, low: float, high: float) -> bool:
    """Whether 4,000 numbers fill [low, high] evenly: Kolmogorov and Smirnov's distance at a level of 1e-6."""
    unit = ((values - low) / (high - low)).flatten().sort().values
    steps = torch.arange(1, len(unit) + 1, dtype=unit.dtype) / len(unit)
    return bool(unit.min() >= 0 and unit.max() <= 1 and (unit - steps).abs().max() < 2.7 / len(unit) ** 0.5)


@pytest.mark.parametrize(("variant", "side"), [("R", 32), ("RTS", 42), ("P", 32), ("E", 32), ("cluttered", 60)])
def test_images_are_255ths_in_the_variants_size_with_the_digits_labels(variant, side):
    data = load_data(f"distorted_mnist:{variant}")
    assert len(data) == 1000
    assert data.input_shape == (1, side, side)
    x, y = data[:30]
    assert x.shape == (30, 1, side, side)
    assert x.dtype == torch.float32
    assert torch.equal((x * 255).round() / 255, x)
    assert (x.min(), y.tolist()) == (0, TEST[1][:30].tolist())
    assert x.flatten(1).amax(1).min() > 0.2
    assert x.max() == 1


@pytest.mark.parametrize("variant", NAMES)
def test_an_image_depends_on_its_number_alone(variant, monkeypatch):
    data = DistortedMNIST(variant=variant, copies=3)
    rows = [0, 1999, 7, 1007, 2007, 7]
    x, y = data[rows]
    assert torch.equal(torch.stack([data[row][0] for row in rows]), x)
    monkeypatch.setattr(module, "BLOCK", 2)
    assert torch.equal(data[rows][0], x)
    assert torch.equal(x[2], x[5])
    assert len({image.numpy().tobytes() for image in x}) == 5
    assert y[2] == y[3] == y[4]
    assert data[[]][0].shape == (0, *data.input_shape)


@pytest.mark.parametrize(("variant", "digest"), SHIPPED_DIGESTS.items())
def test_every_process_and_machine_makes_the_same_images(variant, digest):
    x, _ = DistortedMNIST(variant=variant)[:40]
    assert hashlib.sha256((x * 255).round().byte().numpy().tobytes()).hexdigest()[:12] == digest


def test_more_copies_only_add_images():
    one, three = DistortedMNIST(), DistortedMNIST(copies=3)
    assert len(three) == 3 * len(one) == 3000
    assert torch.equal(one[:20][0], three[:20][0])
    assert torch.equal(three.labels, one.labels.repeat(3))


def test_the_training_split_has_ten_copies_and_draws_of_its_own():
    train, test = DistortedMNIST(split="train", variant="R"), DistortedMNIST(variant="R")
    assert (len(train), len(test)) == (40_000, 1000)
    assert not torch.equal(module._rotated(Draws(train.seed, torch.arange(3)), module._pixels(4), 1.0),
                           module._rotated(Draws(test.seed, torch.arange(3)), module._pixels(4), 1.0))  # fmt: skip
    assert not torch.equal(DistortedMNIST(seed=1)[:5][0], DistortedMNIST()[:5][0])


def linear(warp, draws: Draws, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """An affine warp's matrix (N, 2, 2) and offset (N, 2), from canvas to digit."""
    corner = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    points = warp(draws, corner.expand(42, -1, -1), strength)[:, 0]  # (N, 3, 2); RTS reads the side off its first size
    return torch.stack([points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]], -1), points[:, 0]


def test_r_turns_about_the_centre_by_up_to_90_degrees():
    matrix, offset = linear(module._rotated, MANY)
    angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]).rad2deg()
    assert near_uniform(angle, -90, 90)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(2).double().expand_as(matrix))
    assert (matrix.det() > 0).all()
    assert not offset.any()


def test_rts_turns_scales_and_places_the_frame_uniformly_on_the_canvas():
    matrix, offset = linear(module._moved, MANY)
    scale = matrix.det() ** -0.5
    angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]).rad2deg()
    assert near_uniform(angle, -45, 45)
    assert near_uniform(scale, 0.7, 1.2)
    place = -torch.linalg.solve(matrix, offset)  # where the digit's centre comes to lie
    room = (42 - FRAME * scale) / 2
    for along in place.unbind(1):
        assert near_uniform(along / room, -1, 1)


def test_rts_keeps_the_ink_in_proportion_to_the_digits_area():
    data = DistortedMNIST()
    scale = linear(module._moved, Draws(data.seed, torch.arange(200)))[0].det() ** -0.5
    ink, before = data[:200][0].sum((1, 2, 3)), TEST[0][:200].sum((1, 2, 3))
    ratio = ink / (before * scale**2)
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert ratio.std() < 0.03


@pytest.mark.parametrize("strength", [0.25, 0.5])
def test_strength_is_a_share_of_each_range(strength):
    turned, _ = linear(module._rotated, MANY, strength)
    assert near_uniform(torch.atan2(turned[:, 1, 0], turned[:, 0, 0]).rad2deg(), -90 * strength, 90 * strength)
    matrix, offset = linear(module._moved, MANY, strength)
    scale = matrix.det() ** -0.5
    assert near_uniform(scale, 1 - 0.3 * strength, 1 + 0.2 * strength)
    assert near_uniform(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]).rad2deg(), -45 * strength, 45 * strength)
    place = -torch.linalg.solve(matrix, offset)
    for along in place.unbind(1):
        assert near_uniform(along / ((42 - FRAME * scale) / 2), -strength, strength)


@pytest.mark.parametrize("variant", ["R", "RTS", "P", "E"])
def test_without_strength_the_digit_is_upright_in_the_middle(variant):
    data = load_data(f"distorted_mnist(variant={variant}, strength=0)")
    side = data.input_shape[1]
    plain = load_data("mnist5k", pad=(side - FRAME) // 2)
    assert (data[:10][0] - plain[:10][0]).abs().max() < 1.01 / 255


def bilinear_by_hand(digit: Tensor, x: float, y: float) -> float:
    """A digit (h, w) at a point in pixels from its centre, 0 outside."""
    column, row = x + (digit.shape[1] - 1) / 2, y + (digit.shape[0] - 1) / 2
    total = 0.0
    for i in range(digit.shape[0]):
        for j in range(digit.shape[1]):
            total += digit[i, j].item() * max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j))
    return total


@pytest.mark.parametrize("variant", ["R", "RTS", "P", "E"])
def test_a_pixel_is_the_digit_at_the_warped_point(variant):
    data, row, warp = DistortedMNIST(variant=variant), 11, VARIANTS[variant].warp
    side = data.input_shape[1]
    points = warp(Draws(data.seed, torch.tensor([row])), module._pixels(side), 1.0)[0]
    image = data[row][0][0]
    inked = image.nonzero()[::9].tolist()
    assert len(inked) > 3
    for i, j in inked:
        assert image[i, j].item() == pytest.approx(bilinear_by_hand(TEST[0][row, 0], *points[i, j].tolist()), abs=0.003)


def test_p_maps_the_moved_corners_to_the_frame_and_keeps_it_convex():
    corners = torch.tensor([[[-9.0, -8.0], [12.0, -10.0], [15.0, 6.0], [-4.0, 13.0]]], dtype=torch.float64)
    h = module._unit_square(corners) @ torch.nn.functional.pad(corners, (0, 1), value=1.0).mT  # (1, 3, 4)
    square = torch.tensor([[0.0, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.float64)
    torch.testing.assert_close((h[:, :2] / h[:, 2:])[0], square)
    assert module._is_convex(corners).all()
    assert not module._is_convex(corners.flip(1)).any()  # turned over
    dented = corners.clone()
    dented[0, 2] = torch.tensor([-8.0, -7.0])
    assert not module._is_convex(dented).any()


def test_p_moves_each_corner_by_a_normal_of_5_pixels(monkeypatch):
    seen = []
    monkeypatch.setattr(
        module, "_unit_square", lambda corners, real=module._unit_square: seen.append(corners) or real(corners)
    )
    module._stretched(MANY, module._pixels(2), 1.0)
    corners = seen[0]
    assert module._is_convex(corners).all()
    mean, sd = corners.mean(0), corners.std(0)
    frame = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * FRAME / 2 * 0.875
    assert (mean - frame).abs().max() < 0.5  # that a quadrilateral is convex pulls its corners a little outwards
    assert (sd - 5.1).abs().max() < 0.3


def test_the_spline_of_e_passes_through_its_control_points_and_keeps_affine_maps():
    lines = torch.linspace(-14, 14, 4, dtype=torch.float64)
    control, p = torch.cartesian_prod(lines, lines), module._pixels(9)
    torch.testing.assert_close(module._spline(control, control[None])[:, 0], torch.eye(16, dtype=torch.float64))
    weights = module._spline(control, p)  # (16, 9, 9)
    torch.testing.assert_close(weights.sum(0), torch.ones(9, 9, dtype=torch.float64))
    torch.testing.assert_close(torch.einsum("khw,kc->hwc", weights, control), p)


def test_e_moves_control_points_by_a_normal_of_one_and_a_half_pixels_and_scales():
    at = torch.tensor([[[-14.0, -14.0]]], dtype=torch.float64)  # a control point: its own move, then the scale
    moved = module._warped(MANY, at, 1.0)[:, 0, 0]
    scale = module._between(MANY, 0, 0.75, 1.0)[:, None]
    assert near_uniform(scale, 0.75, 1.0)
    moves = moved * scale + 14
    assert moves.mean(0).abs().max() < 0.1
    assert (moves.std(0) - 1.5).abs().max() < 0.07


def test_cluttered_holds_the_whole_digit_anywhere_and_at_most_six_patches_more():
    x, _ = DistortedMNIST(variant="cluttered")[:60]
    places = []
    for image, digit in zip(x[:, 0], TEST[0][:60, 0, 2:30, 2:30], strict=True):
        windows = image.unfold(0, FRAME, 1).unfold(1, FRAME, 1)  # (33, 33, 28, 28)
        holds = (windows >= digit - 1e-6).all(-1).all(-1)
        assert holds.any()
        places.append(holds.nonzero()[0])
        assert (image > 0).sum() <= (digit > 0).sum() + PATCHES * PATCH**2
        assert (image > 0).sum() > (digit > 0).sum()
    spread = torch.stack(places).double()
    assert spread.amin() < 4
    assert spread.amax() > 28


def test_a_window_shows_zeros_outside_the_image():
    image = torch.arange(1.0, 10).view(1, 3, 3)
    assert module._window(image, torch.tensor([[1, -1]]), 3).tolist() == [[[0, 4, 5], [0, 7, 8], [0, 0, 0]]]


def test_names_hold_the_options_and_load_the_same_set_again():
    for name in (
        "distorted_mnist",
        "distorted_mnist:R",
        "distorted_mnist(seed=3)",
        "distorted_mnist(variant=E, seed=3)",
        "distorted_mnist(strength=0.5)",
    ):
        data = load_data(name)
        assert data.name == name
        assert torch.equal(load_data(data.name)[:2][0], data[:2][0])
    assert load_data("distorted_mnist:RTS").name == "distorted_mnist"
    assert load_data("distorted_mnist", variant="R").name == "distorted_mnist:R"
    assert load_data("distorted_mnist(variant=R, copies=2)").sibling("train").name == "distorted_mnist:R"


def test_another_source_gives_its_digits(monkeypatch):
    monkeypatch.setitem(module.SOURCES, "mnist", lambda **given: load_data("mnist5k", split="train"))
    data = load_data("distorted_mnist", source="mnist")
    assert len(data) == 4000
    assert data.name == "distorted_mnist(source=mnist)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "RST"}, "unknown variant of distorted_mnist 'RST'; did you mean 'RTS'"),
        ({"source": "mnist6k"}, "unknown source of distorted_mnist 'mnist6k'; did you mean 'mnist5k'"),
        ({"split": "tset"}, "did you mean 'test'"),
        ({"copies": 0}, "expected copies of 1 or more, got 0"),
        ({"strength": -0.1}, r"expected strength as a share in \[0, 1\], got -0.1"),
        ({"strength": float("nan")}, r"expected strength as a share in \[0, 1\], got nan"),
        ({"variant": "cluttered", "strength": 0.5}, "expected a strength of 1 for the variant 'cluttered', got 0.5"),
        ({"rotation": 3}, "unknown option of data set 'distorted_mnist' 'rotation'"),
    ],
)
def test_wrong_options_get_one_clear_error(options, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        load_data("distorted_mnist", **options)


def test_clutter_has_as_many_patches_and_as_large_a_canvas_as_asked_for():
    """The digit and the first patches stay where they are; more patches only add ink."""
    none, two, six = (load_data(f"distorted_mnist(variant=cluttered, patches={count})") for count in (0, 2, 6))
    assert torch.equal(six[:20][0], load_data("distorted_mnist:cluttered")[:20][0])
    for fewer, more in ((none, two), (two, six)):
        assert (fewer[:20][0] <= more[:20][0]).all()
        assert not torch.equal(fewer[:20][0], more[:20][0])
    large = load_data("distorted_mnist(variant=cluttered, patches=16, side=84)")
    assert large[:3][0].shape == (3, 1, 84, 84)
    assert large.boxes().max() > 80
    assert load_data(large.name).input_shape == large.input_shape
    assert load_data(large.name)[0][0].equal(large[0][0])


@pytest.mark.parametrize("options", ["patches=-1", "side=27", "side=true", "patches=1.5"])
def test_a_wrong_canvas_is_refused(options):
    with pytest.raises(InputError, match="whole number"):
        load_data(f"distorted_mnist(variant=cluttered, {options})")
    with pytest.raises(InputError, match="'cluttered' alone"):
        load_data(f"distorted_mnist(variant=R, {options})")
