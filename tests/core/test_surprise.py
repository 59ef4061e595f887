"""J keeps its value and its gradient where the label's probability rounds to 1."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from advkit.attacks import FGSM
from advkit.core.goals import Goal
from advkit.core.losses import get_loss, loss_and_slope, surprise


def gradient(loss: object, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, y).sum(), leaf)[0]


@given(st.floats(-54, 54), st.integers(2, 12), st.integers(0, 99))
def test_float32_agrees_with_float64_at_any_confidence(lead: float, classes: int, seed: int) -> None:
    logits = torch.randn(5, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    y = torch.arange(5) % classes
    logits[torch.arange(5), y] += lead
    logits = logits.float().double()
    exact = gradient(surprise, logits, y)
    torch.testing.assert_close(surprise(logits.float(), y).double(), surprise(logits, y), rtol=2e-5, atol=1e-30)
    torch.testing.assert_close(gradient(surprise, logits.float(), y).double(), exact, rtol=2e-5, atol=1e-30)
    torch.testing.assert_close(surprise(logits, y), F.cross_entropy(logits, y, reduction="none"), rtol=1e-6, atol=1e-12)


def test_the_label_stays_in_the_gradient_of_a_confident_model() -> None:
    logits, y = torch.tensor([[30.0, 0.0, -1.0]]), torch.tensor([0])
    ours = gradient(surprise, logits, y)
    usual = gradient(lambda z, y: F.cross_entropy(z, y, reduction="none"), logits, y)
    assert usual[0, 0] == 0  # what this is here for
    assert ours[0, 0] == pytest.approx(-float(ours[0, 1:].sum()), rel=1e-5)


def test_fgsm_is_exact_on_a_confident_affine_net() -> None:
    weight = torch.tensor([[4.0, -3.0], [1.0, 2.0]]) * 20
    x, y = torch.tensor([[0.9, 0.1]]), torch.tensor([0])
    model = torch.nn.Linear(2, 2, bias=False)
    model.weight.data = weight
    eps = float(((weight[0] - weight[1]) * x).sum() / (weight[0] - weight[1]).abs().sum())
    assert not FGSM(eps=eps - 1e-3)(model, x, y).success
    assert FGSM(eps=eps + 1e-3)(model, x, y).success


@pytest.mark.parametrize("name", ["cross_entropy", "rival", "margin"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_slope_in_closed_form_is_the_derivative(name, scale, sign):
    logits = (
        scale * torch.randn(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).requires_grad_()
    label = torch.arange(40) % 7
    goal = Goal(label, label, sign)
    values = get_loss(name, goal, 7)(goal, logits)
    (slope,) = torch.autograd.grad(values.sum(), logits)
    found = loss_and_slope(name, goal, logits)
    assert found is not None
    torch.testing.assert_close(found[0](), values.detach(), rtol=1e-12, atol=1e-300)
    torch.testing.assert_close(found[1], slope, rtol=1e-11, atol=1e-14)
    assert loss_and_slope(lambda goal, logits: logits[:, 0], goal, logits) is None


def test_beyond_the_last_exact_lead_the_loss_still_rises_in_float64() -> None:
    leads = torch.tensor([-1200.0, -900.0, -650.0, -599.0], dtype=torch.float64)
    logits = torch.stack([torch.zeros_like(leads), leads], 1).requires_grad_()
    loss = surprise(logits, torch.zeros(4, dtype=torch.long))
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert bool((loss.diff() > 0).all())
    assert bool((slope[:, 1] > 0).all())
    label = torch.zeros(4, dtype=torch.long)
    closed = loss_and_slope("cross_entropy", Goal(label, label, 1.0), logits)
    assert closed is not None
    torch.testing.assert_close(closed[1], slope, rtol=1e-9, atol=0)
    assert torch.allclose(slope[:3, 1].log(), torch.full((3,), -600.0, dtype=torch.float64))
