"""`assert_robust` takes a goal, and does not pass a model whose errors cannot be believed."""

import pytest
import torch
from helpers.spoilt import Net
from torch import Tensor

from advkit import goals
from advkit.attacks import PGD
from advkit.core.errors import InputError
from advkit.testing import assert_robust
from advkit.testing.robust import InconclusiveError, NotRobustError

X = torch.rand(200, 3, 2, 2, generator=torch.Generator().manual_seed(1))


Y = Net()(X).argmax(1)
ATTACK = PGD(eps=0.05, steps=5)


def test_the_error_is_that_of_the_goal() -> None:
    found = assert_robust(Net(), X, Y, ATTACK, max_error=0.5, goal="confident(lead=0.5)")
    asked = ATTACK(Net(), X, Y, goal=goals.confident(lead=0.5))
    assert found.adversarial_errors == int(asked.success.sum()) > 0
    assert "confident" in str(found)
    y = (Net(outputs=3)(X) > 0).long()
    assert assert_robust(Net(outputs=3), X, y, ATTACK, max_error=1, goal="multi_label").adversarial_errors > 0
    with pytest.raises(InputError, match="takes no goal"):
        assert_robust(Net(), X, Y, lambda model, x, y, eps=0.1: x, max_error=1, eps=0.1, goal="top_k(k=2)")


@pytest.mark.filterwarnings("ignore:the model gave the same image")
def test_a_random_model_does_not_pass_by_one_verdict() -> None:
    noisy = Net(lambda z, x: z + 1e-2 * torch.randn_like(z))
    with pytest.raises(InconclusiveError, match="random"):
        assert_robust(noisy, X, Y, ATTACK, max_error=0.9)
    found = assert_robust(noisy, X, Y, ATTACK, max_error=0.9, verdicts=20)
    assert found.nature == "random"
    assert found.verdicts == 20
    with pytest.raises(NotRobustError):
        assert_robust(noisy, X, Y, ATTACK, max_error=0.001, verdicts=20)


@pytest.mark.filterwarnings("ignore:the model gave the same image")
def test_a_model_that_mixes_its_batch_does_not_pass() -> None:
    mixed = Net(lambda z, x: z + 0.1 * z.mean(0))
    with pytest.raises(InconclusiveError, match="rest of its batch"):
        assert_robust(mixed, X, mixed(X).argmax(1), ATTACK, max_error=0.9)


@pytest.mark.filterwarnings("ignore:the model answered NaN")
@pytest.mark.filterwarnings("ignore:the gradient was exactly zero")
def test_a_model_that_is_not_finite_near_its_images_does_not_pass() -> None:
    clean = {tuple(row.tolist()) for row in X.flatten(1)}

    def hole(z: Tensor, x: Tensor) -> Tensor:
        known = torch.tensor([tuple(row.tolist()) in clean for row in x.flatten(1)])
        return torch.where(known[:, None], z, torch.nan)

    with pytest.raises(InconclusiveError, match="NaN or infinity near 200 images"):
        assert_robust(Net(hole), X, Y, ATTACK, max_error=0.5)


def test_a_sound_model_passes_as_before() -> None:
    found = assert_robust(Net(), X, Y, ATTACK, max_error=0.9)
    assert (found.nature, found.hidden, found.doubt) == ("", 0, "")
    assert isinstance(found.adversarial_errors, int)
