"""Transforms at inference: what they do, the gradients they carry, and that adaptive attacks see through them."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from advkit.attacks import PGD, create_attack, transfer
from advkit.core.errors import InputError, UnknownNameError
from advkit.core.pixel_range import leaving_range
from advkit.data import load_data
from advkit.defenses import Transformed, create_transform, list_transforms
from advkit.defenses.soft_jpeg import soft_jpeg
from advkit.defenses.transforms import BitDepth, _inward
from advkit.models import load_model

IMAGES = torch.rand(3, 1, 12, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", list_transforms())
def test_images_keep_shape_type_and_range(name: str) -> None:
    torch.manual_seed(0)
    for x in (IMAGES, IMAGES.float().repeat(1, 3, 1, 1)):
        y = create_transform(name)(x)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert -1e-6 <= float(y.min()) <= float(y.max()) <= 1 + 1e-6
        assert not torch.equal(x, y)


def test_bits_are_levels() -> None:
    y = create_transform("bit_depth(2)")(IMAGES)
    assert set((y * 3).round(decimals=9).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert float((y - IMAGES).abs().max()) <= 1 / 6 + 1e-12
    assert create_transform("bit_depth(2)") == create_transform("bit_depth(bits=2)") == BitDepth(2)


def test_jpeg_is_pillows_to_a_level() -> None:
    y = create_transform("jpeg(50)")(IMAGES.float())
    for image, ours in zip(IMAGES, y, strict=True):
        file = io.BytesIO()
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(file, "JPEG", quality=50)
        theirs = torch.tensor(np.array(Image.open(file))) / 255
        assert float((ours[0] - theirs).abs().max()) <= 2 / 255


def test_the_median_is_numpys() -> None:
    y = create_transform("median")(IMAGES)
    assert float(y[1, 0, 5, 4]) == float(np.median(IMAGES[1, 0, 4:7, 3:6].numpy()))


def test_blur_keeps_the_mean_of_a_flat_image_and_variation_falls() -> None:
    flat = torch.full((1, 1, 9, 9), 0.3, dtype=torch.float64)
    for name in ("gaussian(2)", "total_variation", "median(5)"):
        torch.testing.assert_close(create_transform(name)(flat), flat)
    x = IMAGES
    y = create_transform("total_variation")(x)
    assert y.diff(dim=-1).abs().sum() < 0.9 * x.diff(dim=-1).abs().sum()


@pytest.mark.parametrize("name", ["median", "gaussian", "total_variation"])
def test_derivatives_that_exist_are_exact(name: str) -> None:
    transform = create_transform(name)
    x = IMAGES[:1, :, :5, :5].clone().requires_grad_()
    assert torch.autograd.gradcheck(transform, (x,))


def digits(count: int) -> Tensor:
    """Test digits in float64; most of their pixels are flat background."""
    return load_data("mnist5k", split="test")[:count][0].double()


def variation(z: Tensor) -> Tensor:
    """The rounded total variation of each image, written out."""
    across, down = torch.zeros_like(z), torch.zeros_like(z)
    across[..., :-1], down[..., :-1, :] = z.diff(dim=-1), z.diff(dim=-2)
    return (across**2 + down**2 + 1e-3).sqrt().sum((1, 2, 3))


@pytest.mark.parametrize(("weight", "steps"), [(0.01, 20), (0.1, 20), (0.5, 60)])
def test_total_variation_comes_to_the_smallest_value(weight: float, steps: int) -> None:
    """A step longer than the curvature allows overshoots on a flat background: the value then stays above."""
    x = digits(3)

    def value(number: int) -> Tensor:
        z = create_transform(f"total_variation(weight={weight}, steps={number})")(x)
        return ((z - x) ** 2).sum((1, 2, 3)) / 2 + weight * variation(z)

    least = value(600)
    assert bool((value(1) < weight * variation(x)).all())
    torch.testing.assert_close(value(1200), least, rtol=1e-10, atol=0)
    assert bool((value(steps) < 1.001 * least).all())


@pytest.mark.parametrize("name", ["gaussian", "total_variation"])
def test_derivatives_hold_on_digits_for_changes_that_attacks_make(name: str) -> None:
    """A derivative of norm 10,000 on a flat background is exact, and no guide to a change of .001."""
    transform, x = create_transform(name), digits(2)
    draws = torch.Generator().manual_seed(0)
    way, weight = (torch.randn(x.shape, generator=draws, dtype=x.dtype) for _ in range(2))
    leaf = x.clone().requires_grad_()
    with leaving_range():
        (gradient,) = torch.autograd.grad((transform(leaf) * weight).sum(), [leaf])
        step = 1e-3
        there, back = ((transform(x + s * way) * weight).sum() for s in (step, -step))
    torch.testing.assert_close((there - back) / (2 * step), (gradient * way).sum(), rtol=2e-3, atol=0)


def test_no_change_grows_in_a_blur_or_a_median() -> None:
    """So each image that an attack can make is, behind it, in the ball around the blurred clean image."""
    x, draws = digits(20), torch.Generator().manual_seed(0)
    delta = 0.1 * (torch.rand(x.shape, generator=draws, dtype=x.dtype) * 2 - 1)
    for name in ("gaussian(1)", "median(3)", "median(5)"):
        transform = create_transform(name)
        for moved in (x + delta, x + 0.1 * delta.sign()):
            with leaving_range():
                apart = (transform(moved) - transform(x)).abs()
            assert float(apart.max()) <= float((moved - x).abs().max()) + 1e-12


@pytest.mark.parametrize("name", ["bit_depth"])
def test_derivatives_that_do_not_are_the_identitys(name: str) -> None:
    x = IMAGES.clone().requires_grad_()
    weight = torch.randn_like(IMAGES)
    (gradient,) = torch.autograd.grad((create_transform(name)(x) * weight).sum(), [x])
    torch.testing.assert_close(gradient, weight)


def test_a_random_transform_is_drawn_often_for_a_gradient_and_once_for_an_answer() -> None:
    seen: list[int] = []
    net = nn.Sequential(nn.Flatten(), nn.Linear(120, 3)).double()
    net.register_forward_hook(lambda *given: seen.append(1))
    defended = Transformed(net, "resize_pad(3)", samples=4)
    defended(IMAGES)
    assert len(seen) == 1
    defended(IMAGES.clone().requires_grad_())
    assert len(seen) == 5


def test_shrunk_images_have_many_sizes_and_lie_inside() -> None:
    torch.manual_seed(0)
    x = torch.ones(40, 1, 8, 8, dtype=torch.float64)
    sides = (create_transform("resize_pad(4)")(x) > 0.5).sum((1, 2, 3))
    assert int(sides.max()) == 64
    assert 9 <= int(sides.min()) <= 25
    assert len(sides.unique()) > 3


@pytest.mark.parametrize("spec", ["bit_depth(3)", "jpeg(75)", "median(3)", "gaussian(1)", "total_variation"])
def test_deterministic_transforms_fall_to_the_adaptive_attack(spec: str) -> None:
    model, data = load_model("lenet5", device="cpu"), load_data("mnist5k", split="test")
    x, y = data[:40]
    attack, defended = PGD(eps=0.25, steps=40), Transformed(model, spec).eval()
    undefended, adaptive = (float(attack(m, x, y).success.double().mean()) for m in (model, defended))
    naive = float(transfer(attack, model)(defended, x, y).success.double().mean())
    assert adaptive >= undefended - 0.02
    assert naive <= adaptive


def test_wrong_specs_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="jpeg"):
        create_transform("jpg")
    for spec in ("bit_depth(9)", "jpeg(0)", "median(2)", "gaussian(sigma=0)"):
        with pytest.raises(InputError):
            create_transform(spec)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [25, 75])
def test_the_soft_jpeg_shows_what_pillow_shows(channels: int, quality: int) -> None:
    """On smooth images of whole levels; a coefficient half way between two may go either way, so a mean is compared."""
    draws = torch.Generator().manual_seed(1)
    coarse = torch.rand(4, channels, 4, 4, generator=draws) * 0.6 + 0.2
    x = nn.functional.interpolate(coarse, size=(20, 27), mode="bicubic", align_corners=False).clamp(0, 1)
    x = (x * 255).round() / 255
    ours, theirs = soft_jpeg(x, quality), create_transform(f"jpeg({quality})")(x)
    apart = (ours - theirs).abs() * 255
    assert ours.shape == x.shape
    assert float(apart.mean()) < 1.5
    assert float(apart.quantile(0.95)) < 5
    assert float(apart.mean()) < 0.5 * 255 * float((x - theirs).abs().mean())


def test_the_derivative_of_jpeg_is_that_of_its_soft_rounding() -> None:
    """One block: it is the cosine transform, a factor for every coefficient, and the transform back."""
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    k = torch.arange(8, dtype=torch.float64)
    waves = torch.cos((2 * k[None] + 1) * k[:, None] * torch.pi / 16) / 2
    waves[0] /= 2**0.5
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=50)
    table = torch.tensor(list(Image.open(file).quantization[0]), dtype=torch.float64).view(8, 8)  # type: ignore[attr-defined]
    c = waves @ (x[0, 0] * 255 - 128) @ waves.T / table
    weight = torch.randn(8, 8, dtype=torch.float64)
    expected = waves.T @ ((waves @ weight @ waves.T) * (3 * (c - c.round()) ** 2 + 0.3)) @ waves
    leaf = x.clone().requires_grad_()
    out = create_transform("jpeg(50)")(leaf)
    (gradient,) = torch.autograd.grad((out[0, 0] * weight).sum(), [leaf])
    torch.testing.assert_close(gradient[0, 0], expected)
    assert torch.equal(out.detach(), create_transform("jpeg(50)")(x))


def test_a_seed_fixes_size_and_place() -> None:
    fixed = create_transform("resize_pad(pixels=4, seed=2)")
    assert not fixed.draws
    assert create_transform("resize_pad(4)").draws
    y = fixed(IMAGES)
    assert torch.equal(y, fixed(IMAGES))
    assert torch.equal(y[1:2], fixed(IMAGES[1:2]))
    assert not torch.equal(y, create_transform("resize_pad(pixels=4, seed=3)")(IMAGES))
    before = torch.get_rng_state()
    fixed(IMAGES)
    assert torch.equal(before, torch.get_rng_state())


DETERMINISTIC = ("bit_depth(3)", "jpeg(75)", "jpeg(25)", "median(3)", "gaussian(1)", "total_variation",
                 "resize_pad(pixels=4, seed=0)")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("spec", DETERMINISTIC)
def test_deterministic_transforms_fall_to_the_cascade_as_the_network_does(spec: str) -> None:
    """At eps .2, where an attack that ignores the transform leaves up to 34 of 100 digits standing."""
    model, data = load_model("lenet5", device="cpu"), load_data("mnist5k", split="test")
    x, y = data[:100]
    attack, defended = create_attack("cascade(eps=0.2)"), Transformed(model, spec).eval()
    undefended, adaptive = (float(attack(m, x, y).success.double().mean()) for m in (model, defended))
    naive = float(transfer(PGD(eps=0.2, steps=40), model)(defended, x, y).success.double().mean())
    assert adaptive >= undefended - 0.02
    assert naive <= adaptive
    if spec in ("gaussian(1)", "total_variation"):
        assert naive < undefended - 0.2


@pytest.mark.parametrize(("sigma", "side"), [(0.1, 1), (0.4, 1), (1.0, 3), (1.5, 4)])
def test_a_blur_reaches_three_standard_deviations_and_keeps_the_light(sigma: float, side: int) -> None:
    x = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    x[0, 0, 7, 7] = 1
    blurred = create_transform(f"gaussian(sigma={sigma})")(x)
    outside = torch.ones_like(x, dtype=torch.bool)
    outside[0, 0, 7 - side : 8 + side, 7 - side : 8 + side] = False
    assert float(blurred.sum()) == pytest.approx(1)
    assert bool((blurred[outside] == 0).all())
    assert torch.allclose(blurred, blurred.mT)


def test_the_step_of_total_variation_is_its_derivative() -> None:
    z = torch.rand(2, 3, 7, 5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(variation(z).sum(), z)
    torch.testing.assert_close(_inward(z.detach()), -slope)


@pytest.mark.parametrize(
    ("spec", "shape", "says"),
    [
        ("median(99)", (2, 3, 32, 32), "expected size at most 63 for images of 32x32 pixels, got 99"),
        ("median(3)", (1, 1, 1, 1), "expected size at most 1 for images of 1x1 pixels, got 3"),
        ("median(11)", (1, 1, 5, 40), "expected size at most 9 for images of 5x40 pixels, got 11"),
        ("gaussian(1e6)", (1, 3, 32, 32), "expected sigma at most 85 for images of 32x32 pixels, got 1e\\+06"),
        ("resize_pad(32)", (1, 3, 32, 40), "expected pixels below 32 for images of 32x40 pixels, got 32"),
        ("resize_pad(pixels=2.5)", (1, 3, 8, 8), "expected pixels as an integer"),
        ("resize_pad(seed=1.5)", (1, 3, 8, 8), "expected seed as an integer"),
        ("total_variation(steps=2.5)", (1, 3, 8, 8), "expected steps as an integer"),
    ],
)
def test_what_no_image_of_this_size_can_have_is_one_line(spec: str, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        create_transform(spec)(torch.rand(shape))


@pytest.mark.parametrize("name", list_transforms())
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 1, 5, 40), (1, 3, 5, 5)])
def test_no_images_few_pixels_and_long_images_are_images(name: str, shape: tuple[int, ...]) -> None:
    y = create_transform(name)(torch.rand(shape))
    assert y.shape == shape
    assert bool(y.isfinite().all())


def test_the_blur_is_as_wide_as_it_can_be() -> None:
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    y = create_transform("gaussian(21)")(x)
    assert bool(y.isfinite().all())
    assert float(y.max() - y.min()) < float(x.max() - x.min()) / 2


@pytest.mark.parametrize("name", [name for name in list_transforms() if name != "bit_depth"])
@pytest.mark.parametrize("shape", [(2, 9), (2, 9, 9), (9,)])
def test_rows_of_features_are_no_images(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected images \(N, C, H, W\) for the transform"):
        create_transform(name)(torch.rand(shape))


@pytest.mark.parametrize("transform", [nn.Identity(), 75, None, lambda x: x])
def test_what_is_no_transform_is_refused_at_once(transform: object) -> None:
    with pytest.raises(InputError, match="expected transform as a spec"):
        Transformed(nn.Flatten(), transform)  # type: ignore[arg-type]


class InAThread(nn.Module):
    """Asks a network in a thread of its own, as `nn.DataParallel` asks its copies."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as threads:
            answer: Tensor = threads.submit(torch.set_grad_enabled(torch.is_grad_enabled())(self.net), x).result()
        return answer


@pytest.mark.parametrize("spec", ["mifgsm(eps=0.5, ni=1)", "mifgsm(eps=0.5, vmi=2)", "mifgsm(eps=0.5, admix=1)"])
def test_points_outside_the_range_are_asked_about_in_threads_too(spec: str) -> None:
    net, attack = Transformed(load_model("mlp").double(), "bit_depth(5)"), create_attack(spec)
    x, y = load_data("mnist5k")[:4]
    alone, threaded = (attack(model, x.double(), y, stop="never") for model in (net, InAThread(net)))
    assert torch.equal(alone.x_adv, threaded.x_adv)
    with pytest.raises(InputError, match="takes pixels in"):
        InAThread(net)(x.double() + 1)


@pytest.mark.parametrize("spec", ["jpeg(75)", "resize_pad(2)"])
def test_a_network_that_answers_with_a_dictionary_stands_behind_a_transform_too(spec: str) -> None:
    """The mean over several draws ended in a TypeError."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.layers(x)}

    defended, x = Transformed(Named(), spec), torch.rand(2, 1, 8, 8)
    assert defended(x).shape == defended(x.clone().requires_grad_()).shape == (2, 3)
