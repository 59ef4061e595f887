"""`smallest`: the least eps of a budget attack, sample by sample."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from advkit.attacks import FGSM, LBFGS, PGD, smallest
from advkit.attacks.around.trial import Trial
from advkit.core.errors import InputError
from advkit.core.threat import Threat
from advkit.testing import AffineClassifier
from advkit.testing._toys import toy_case


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("seed", range(3))
def test_fgsm_on_two_affine_classes_needs_the_nearest_distance(norm: str, seed: int) -> None:
    model = AffineClassifier.random((1, 4, 4), 2, seed=seed, centred=True)
    x = torch.rand(12, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    y = model(x).argmax(1)
    exact, _ = model.nearest(x, y, norm)
    result = smallest(FGSM(norm=norm), first=1e-4, halvings=14)(model, x, y)
    possible = exact.isfinite()
    assert result.success.equal(possible)
    assert (result.distance[possible] >= exact[possible] * (1 - 1e-9)).all()
    torch.testing.assert_close(result.distance[possible], exact[possible], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("attack", [FGSM(), FGSM(norm="l2"), PGD(steps=3), FGSM(target="runner_up")])
def test_the_attack_fools_at_the_eps_found_and_not_just_below(attack: FGSM | PGD) -> None:
    model, x, y, *_ = toy_case()
    result = smallest(attack)(model, x, y)
    found = result.success & (result.distance > 0)
    assert found.any()
    again = attack(model, x, y, eps=(result.distance * (1 + 1e-6)).where(found, 0))
    assert again.success[found].all()


def test_the_whole_curve_of_fgsm_costs_one_gradient() -> None:
    model, x, y, *_ = toy_case()
    result = smallest(FGSM())(model, x, y)
    assert (result.gradients <= 1).all()
    assert (result.queries <= 1 + 11 + 8 + 1).all()


def test_a_trial_remembers_who_was_fooled_at_any_of_its_points() -> None:
    x = torch.zeros(4, 1)
    oracle: Any = SimpleNamespace(region=Threat("linf").around(x))

    def answer(x: Tensor, loss: str = "") -> tuple[Tensor, Tensor]:
        oracle.fooled = x[:, 0] > 0.5
        return x[:, 0], x

    oracle.logits = oracle.loss_and_gradient = answer
    trial = Trial(oracle, torch.ones(4).double(), torch.tensor([False, False, True, False]))
    trial.loss_and_gradient(torch.tensor([[1.0], [0], [0], [0]]))
    trial.logits(torch.tensor([[0.0], [1], [0], [0]]))
    trial.loss_and_gradient(x)
    assert trial.fooled.tolist() == [True, True, True, False]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="expected a budget attack"):
        smallest(LBFGS())
