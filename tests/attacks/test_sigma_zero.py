"""Sigma-zero: the smooth count's slope, the nearest point of affine classifiers, and the threshold."""

import pytest
import torch

from advkit.attacks import SigmaZero, create_attack
from advkit.core.errors import InputError
from advkit.core.norms import get_norm
from advkit.testing import AffineClassifier


def test_the_slope_is_that_of_the_smooth_count() -> None:
    delta = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    count = (delta**2 / (delta**2 + 1e-2)).flatten(1).mean(1)
    (wanted,) = torch.autograd.grad(count.sum(), delta)
    torch.testing.assert_close(SigmaZero(sigma=1e-2)._count_slope(get_norm("l0"), delta.detach()), wanted)
    pixels = delta.square().sum(1)
    (wanted,) = torch.autograd.grad((pixels / (pixels + 1e-2)).flatten(1).mean(1).sum(), delta)
    torch.testing.assert_close(SigmaZero(sigma=1e-2)._count_slope(get_norm("l0_pixels"), delta.detach()), wanted)


@pytest.mark.parametrize("name", ["sigma_zero", "fmn"])
def test_over_pixels_the_channels_of_one_move_together(name: str) -> None:
    model = AffineClassifier.random((3, 4, 4), 2, seed=0)
    model.bias.data += torch.tensor([4.0, -4.0], dtype=torch.float64)
    x = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = model(x).argmax(1)
    nearest, _ = model.nearest(x, y, "l0_pixels")  # 2 to 4
    found = create_attack(name, norm="l0_pixels")(model, x, y)
    assert found.success.all()
    assert torch.equal(found.distance, (found.x_adv != x).any(1).flatten(1).sum(1).double())
    assert (found.distance <= nearest + 1).all(), found.distance - nearest
    over_entries = create_attack(name, norm="l0")(model, x, y)
    assert found.distance.sum() < 0.8 * get_norm("l0_pixels").size(over_entries.x_adv - x).sum()


@pytest.mark.parametrize("seed", range(3))
def test_two_affine_classes_are_crossed_with_one_entry_more_than_the_least_at_most(seed: int) -> None:
    model = AffineClassifier.random((1, 4, 4), 2, seed=seed)
    x = 0.4 + 0.2 * torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = model(x).argmax(1)
    nearest, _ = model.nearest(x, y, "l0")
    found = SigmaZero()(model, x, y)
    assert found.success.all()
    assert (found.distance >= nearest).all()
    assert (found.distance <= nearest + 1).all(), found.distance - nearest


def test_another_range_of_the_pixels_changes_nothing() -> None:
    model = AffineClassifier.random((1, 4, 4), 3, seed=1)
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = model(x).argmax(1)
    found = SigmaZero(steps=30)(model, x, y)
    wider = SigmaZero(steps=30)(lambda z: model((z + 1) / 4), 4 * x - 1, y, bounds=(-1, 3))
    assert torch.equal(found.distance, wider.distance)


def test_wrong_options_are_refused() -> None:
    for spec in ("sigma_zero(sigma=0)", "sigma_zero(tau=-1)", "sigma_zero(norm=l2)", "sigma_zero(steps=0)"):
        with pytest.raises(InputError):
            create_attack(spec)
