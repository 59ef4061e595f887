"""The range of the pixels behind a transform: any that is stated gives what [0, 1] gives, and no other is taken."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import MIFGSM, PGD, admix, masked, ni, vmi
from advkit.core.errors import InputError
from advkit.defenses import NoiseLoss, Smoothed, Transformed, create_transform, list_transforms

RANGES = [(-1.0, 1.0), (0.0, 255.0), (-0.5, 0.5), (-128.0, 127.0), (3.0, 3.5)]
IMAGES = torch.randint(0, 256, (2, 3, 12, 10), generator=torch.Generator().manual_seed(0)).double() / 255
SPECS = [*list_transforms(), "bit_depth(1)", "jpeg(30)", "resize_pad(pixels=4, seed=1)", "total_variation(1.0)"]


def there(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Images in [0, 1] in another range."""
    return x * (bounds[1] - bounds[0]) + bounds[0]


def back(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The inverse."""
    return (x - bounds[0]) / (bounds[1] - bounds[0])


class Moved(nn.Module):
    """A network for pixels in [0, 1], given them in another range."""

    def __init__(self, net: nn.Module, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.net, self.bounds = net, bounds

    def forward(self, x: Tensor) -> Tensor:
        return self.net(back(x, self.bounds))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(360, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()


@pytest.mark.parametrize(("spec", "bounds"), list(product(SPECS, RANGES)))
def test_a_stated_range_is_of_no_account(spec: str, bounds: tuple[float, float]) -> None:
    """The images, the logits and the gradient are those of the same images in [0, 1]."""
    transform, net = create_transform(spec), network()
    torch.manual_seed(1)
    expected = transform(IMAGES)
    torch.manual_seed(1)
    found = transform(there(IMAGES, bounds), bounds=bounds)
    torch.testing.assert_close(found, there(expected, bounds), rtol=1e-7, atol=1e-7)
    answers = []
    for model, x in (
        (Transformed(net, spec, samples=2), IMAGES),
        (Transformed(Moved(net, bounds), spec, samples=2, bounds=bounds), there(IMAGES, bounds)),
    ):
        torch.manual_seed(2)
        leaf = x.clone().requires_grad_()
        logits = model(leaf)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), [leaf])
        answers.append((logits, gradient))
    span = bounds[1] - bounds[0]
    torch.testing.assert_close(answers[1][0], answers[0][0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(span * answers[1][1], answers[0][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    ("x", "bounds"),
    [
        (2 * IMAGES - 1, (0, 1)),
        (255 * IMAGES, (0, 1)),
        (IMAGES + 0.02, (0, 1)),
        (IMAGES - 0.02, (0, 1)),
        (255 * IMAGES, (-1, 1)),
        (2 * IMAGES - 1, (0, 255)),
    ],
)
def test_images_outside_the_stated_range_are_refused(spec: str, x: Tensor, bounds: tuple[float, float]) -> None:
    low, high = (f"{bound:g}" for bound in bounds)
    says = rf"takes pixels in \[{low}, {high}\], saw .* to .*: state the range of your pixels by bounds=\(low, high\)$"
    defended = Transformed(network(), spec, bounds=bounds)
    for ask in (lambda: defended(x), lambda: create_transform(spec)(x, bounds=bounds)):
        with pytest.raises(InputError, match=says) as caught:
            ask()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("x", [(255 * IMAGES).byte(), IMAGES.numpy()])
def test_images_that_are_no_floats_are_refused(x: object) -> None:
    with pytest.raises(InputError, match=r"images as a (floating-point|torch) tensor.*, got"):
        Transformed(network(), "median")(x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rounding_is_not_outside(dtype: torch.dtype) -> None:
    """A blur in front of a transform sums weights that are 1 up to rounding."""
    for bounds in RANGES:
        x = torch.full((1, 3, 12, 10), bounds[1], dtype=dtype)
        above = x * (1 + torch.finfo(dtype).eps)
        assert create_transform("median")(above, bounds=bounds).shape == x.shape
        below = torch.full_like(x, bounds[0])
        assert create_transform("median")(below - below.abs() * torch.finfo(dtype).eps, bounds=bounds).shape == x.shape


def test_transforms_stand_one_behind_the_other() -> None:
    one = Transformed(Transformed(network(), "jpeg"), "gaussian")
    assert one(torch.ones_like(IMAGES)).isfinite().all()


@pytest.mark.parametrize("bounds", [(1, 0), (0, 0), (0, float("inf")), (float("nan"), 1), 255, None, "01", (0, 1, 2)])
def test_no_range_is_refused_when_the_network_is_made(bounds: object) -> None:
    with pytest.raises(InputError, match="bounds"):
        Transformed(network(), "jpeg", bounds=bounds)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])
def test_attacks_that_look_outside_the_range_and_noise_go_through(bounds: tuple[float, float]) -> None:
    """Their points leave the range on purpose; what they return does not."""
    defended = Transformed(Moved(network(), bounds), "bit_depth(3)", bounds=bounds)
    x, y = there(IMAGES, bounds), torch.tensor([0, 1])
    inner = MIFGSM(eps=0.5, steps=3)
    for attack in (ni(inner, 1.0), vmi(inner, 2), admix(inner, 0.5)):
        assert attack(defended, x, y, bounds=bounds, stop="never").x_adv.shape == x.shape
    smoothed = Smoothed(defended, 0.5, samples=2)
    assert smoothed(x).isfinite().all()
    assert int(smoothed.counts(x, 3, bounds=bounds).sum()) == 6
    assert NoiseLoss(eps=0.5, kind="normal", bounds=bounds)(defended, x, y).item() > 0


def test_an_attack_in_a_wider_range_than_the_stated_one_is_refused() -> None:
    defended, x, y = Transformed(network(), "jpeg"), IMAGES, torch.tensor([0, 1])
    with pytest.raises(InputError, match="the transform JPEG takes pixels in"):
        PGD(eps=0.5, steps=3)(defended, x, y, bounds=(-1, 1), stop="never")
    mask = torch.ones(12, 10)
    assert masked(PGD(eps=0.5, steps=3), mask)(defended, x, y, stop="never").x_adv.shape == x.shape


@pytest.mark.parametrize("spec", SPECS)
def test_images_that_hold_nan_are_refused_as_such(spec: str) -> None:
    x = IMAGES.where(IMAGES.min() < IMAGES, torch.nan)
    for ask in (lambda: Transformed(network(), spec)(x), lambda: create_transform(spec)(x)):
        with pytest.raises(InputError, match=r"takes pixels in \[0, 1\], the images contain NaN$"):
            ask()


@pytest.mark.parametrize(("bounds", "advice"), [((0, 1), r"x\.float\(\) / 255$"), ((0, 255), r"x\.float\(\)$")])
def test_bytes_are_told_how_to_reach_the_stated_range(bounds: tuple[float, float], advice: str) -> None:
    with pytest.raises(InputError, match=f"8-bit images: {advice}"):
        Transformed(network(), "median", bounds=bounds)((255 * IMAGES).byte())
