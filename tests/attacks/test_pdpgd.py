"""PDPGD: the nearest point of affine classifiers, its multiplier, its proximal step and the range of the pixels."""

import pytest
import torch

from advkit.attacks import PDPGD, create_attack
from advkit.attacks.pdpgd import State
from advkit.core.errors import InputError
from advkit.core.norms import get_norm
from advkit.testing import AffineClassifier


@pytest.mark.parametrize(("norm", "over"), [("l2", 1.04), ("linf", 1.015), ("l1", 1.07)])
def test_the_nearest_point_of_affine_classes_is_found(norm: str, over: float) -> None:
    model = AffineClassifier.random((1, 4, 4), 2, seed=0)
    model.bias.data += torch.tensor([1.0, -1.0], dtype=torch.float64)  # away from distances below the last step
    x = 0.4 + 0.2 * torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = model(x).argmax(1)
    nearest, _ = model.nearest(x, y, norm)
    found = PDPGD(norm=norm)(model, x, y)
    assert found.success.all()
    assert (found.distance >= nearest * (1 - 1e-9)).all()
    assert (found.distance <= over * nearest).all(), found.distance / nearest


def test_over_pixels_the_channels_of_one_move_together() -> None:
    model = AffineClassifier.random((3, 4, 4), 2, seed=0)
    model.bias.data += torch.tensor([4.0, -4.0], dtype=torch.float64)
    x = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = model(x).argmax(1)
    nearest, _ = model.nearest(x, y, "l0_pixels")  # 2 to 4
    found = PDPGD(norm="l0_pixels")(model, x, y)
    assert found.success.all()
    assert torch.equal(found.distance, (found.x_adv != x).any(1).flatten(1).sum(1).double())
    assert (found.distance <= 2 * nearest).all(), found.distance - nearest


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_the_iterations_of_the_proximal_step_end_at_its_optimum(norm: str) -> None:
    r, width = (torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in (0, 1))
    width, t = width + 0.5, torch.tensor([0.05, 0.3], dtype=torch.float64)
    z = PDPGD(proximal_steps=200)._prox(get_norm(norm), r, width, t, r - 9, r + 9)

    def objective(z: torch.Tensor) -> torch.Tensor:
        return t * get_norm(norm).size(z) + (width * (z - r) ** 2).flatten(1).sum(1) / 2

    for spread in (1e-3, 0.1):
        for seed in range(20):
            other = torch.randn(r.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            assert (objective(z) <= objective(z + spread * other) + 1e-12).all()


def test_the_multiplier_rises_after_a_miss_and_falls_after_a_hit() -> None:
    attack, start = PDPGD(steps=11), torch.zeros(2, dtype=torch.float64)
    state = State(None, None, start, start + 0.5, start + 1)
    multiplier, weight = attack._dual(torch.tensor([True, False]), state, 0)
    torch.testing.assert_close(multiplier, torch.tensor([-0.1, 0.1], dtype=torch.float64))
    torch.testing.assert_close(weight, 0.45 + 0.1 * multiplier.sigmoid())
    last, _ = attack._dual(torch.tensor([True, False]), state, 10)
    torch.testing.assert_close(last, multiplier / 10)
    far, _ = attack._dual(torch.tensor([True, False]), state._replace(multiplier=start + 13.8), 0)
    assert far[1] == pytest.approx(13.815510557964274)  # ln of a million


@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "l0"])
def test_another_range_of_the_pixels_changes_nothing_but_the_unit(norm: str) -> None:
    model = AffineClassifier.random((1, 4, 4), 3, seed=1)
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = model(x).argmax(1)
    found = PDPGD(norm=norm, steps=40)(model, x, y)
    wider = PDPGD(norm=norm, steps=40)(lambda z: model((z + 1) / 4), 4 * x - 1, y, bounds=(-1, 3))
    unit = 1 if norm == "l0" else 4
    torch.testing.assert_close(unit * found.distance, wider.distance)


def test_wrong_options_are_refused() -> None:
    for spec in ("pdpgd(step_size=0)", "pdpgd(ratio=-1)", "pdpgd(proximal_steps=0)", "pdpgd(norm=l3)"):
        with pytest.raises(InputError):
            create_attack(spec)
