"""NES and SPSA: the estimate of the gradient against a slow reference and the truth, and its price in queries."""

import pytest
import torch

from advkit.attacks import NES, SPSA, create_attack
from advkit.attacks.parts.estimate import EstimateAttack
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.testing import AffineClassifier

CLASSES = [NES, SPSA]


def case(seed: int = 0) -> tuple[AffineClassifier, torch.Tensor, torch.Tensor]:
    model = AffineClassifier.random((1, 4, 4), 2, seed=seed)
    x = 0.4 + 0.2 * torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return model, x, model(x).argmax(1)


def asked(attack: EstimateAttack, model: object, x: torch.Tensor, y: torch.Tensor, eps: float) -> list[torch.Tensor]:
    """Every batch that the model saw in steps, in order."""
    seen: list[torch.Tensor] = []

    def spy(z: torch.Tensor) -> torch.Tensor:
        seen.append(z.detach().clone())
        return model(z)

    attack(spy, x, y, eps=eps, stop="never")
    return [z for z in seen if len(z) == len(x)]


def test_a_step_of_nes_is_that_of_the_slow_estimate() -> None:
    model, x, y = case()
    attack = NES(loss="margin", samples=8, steps=2, sigma=1e-3, step_size=0.02)
    draws, sign = Draws(0, torch.arange(6)), torch.where(y == 0, 1.0, -1.0).double()
    g = torch.zeros_like(x)
    for j in range(4):
        for n in range(6):
            u = draws.normal(j, (1, 4, 4))[n]
            up, down = (model((x[n] + s * 1e-3 * u)[None])[0] for s in (1, -1))
            rise = sign[n] * ((up[1] - up[0]) - (down[1] - down[0]))
            g[n] += rise * u / (8 * 1e-3)
    wanted = (x + 0.02 * g.sign()).detach()
    assert any(torch.allclose(z, wanted, atol=1e-9) for z in asked(attack, model, x, y, 0.1))


@pytest.mark.parametrize("cls", CLASSES)
def test_many_samples_find_the_exact_maximum_of_linf(cls: type[EstimateAttack]) -> None:
    model, x, y = case(3)
    w = (model.weight[1] - model.weight[0]).detach().view(1, 1, 4, 4)
    best = x + 0.02 * torch.where(y == 0, 1.0, -1.0)[:, None, None, None] * w.sign()
    found = cls(loss="margin", samples=200, steps=4)(model, x, y, eps=0.02, stop="never")
    clear = (w.abs() > 1)[0]  # the noise of an estimate is about |w|_2 / sqrt(samples / 2) = 0.4 an entry
    assert 4 <= clear.sum() < 16
    assert ((found.x_adv - best).abs() < 1e-6)[:, clear].float().mean() > 0.97


@pytest.mark.parametrize("cls", CLASSES)
def test_many_samples_find_the_exact_maximum_of_l2(cls: type[EstimateAttack]) -> None:
    model, x, y = case(3)
    w = (model.weight[1] - model.weight[0]).detach().view(1, 1, 4, 4)
    d = torch.where(y == 0, 1.0, -1.0)[:, None, None, None] * w / w.norm()
    found = cls(norm="l2", loss="margin", samples=200, steps=4)(model, x, y, eps=0.1, stop="never").x_adv - x
    assert ((found * d).flatten(1).sum(1) > 0.95 * 0.1).all()


@pytest.mark.parametrize("cls", CLASSES)
def test_queries_are_what_the_page_says(cls: type[EstimateAttack]) -> None:
    model, x, y = case(1)
    found = cls(samples=6, steps=3)(model, x, y, eps=1e-7, stop="never")
    assert set(found.queries.tolist()) <= {3 * 7 + 1, 3 * 7 + 2}
    assert found.gradients.sum() == 0


@pytest.mark.parametrize("cls", CLASSES)
def test_every_point_asked_about_lies_in_the_range(cls: type[EstimateAttack]) -> None:
    model, x, y = case(2)
    for z in asked(cls(samples=4, steps=3, sigma=0.3), model, x.round(), y, 0.2):
        assert ((z >= 0) & (z <= 1)).all()


def test_a_pixel_at_the_edge_of_the_range_is_not_moved_by_the_level_of_the_loss() -> None:
    """One of two opposite points is cut off there: without the loss at the centre its level would count as a slope."""
    weight = torch.zeros(2, 16, dtype=torch.float64)
    weight[1, 0] = 1.0
    model = AffineClassifier(weight, torch.tensor([50.0, 0.0], dtype=torch.float64))
    x, y = torch.zeros(4, 1, 4, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.int64)
    found = NES(loss="margin", samples=40, steps=1)(model, x, y, eps=0.1, stop="never")
    torch.testing.assert_close(found.x_adv[:, 0, 0, 0], torch.full((4,), 0.1, dtype=torch.float64))


def test_wrong_options_are_refused() -> None:
    for spec in ("nes(samples=1)", "nes(samples=5)", "nes(sigma=0)", "nes(step_size=-1)", "spsa(lr=0)"):
        with pytest.raises(InputError):
            create_attack(spec)
