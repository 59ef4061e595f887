"""The RBF network against its formula, and what is counted of confidence, agreement and rubbish."""

import math

import pytest
import torch
import torch.nn.functional as F

from advkit.attacks import FGSM
from advkit.core.goals import Goal
from advkit.reproduction.papers.goodfellow_rbf import ShallowRBF, agreement, rbf_loss, surprise_of_rbf, taken


def network() -> tuple[ShallowRBF, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = ShallowRBF((1, 3, 4), 5).double()
    with torch.no_grad():
        model.log_beta.normal_()
        model.mu.uniform_(0, 1)
    return model, torch.rand(7, 1, 3, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 0, 1])


def test_the_network_is_its_formula() -> None:
    model, x, _ = network()
    d = x.flatten(1)[:, None] - model.mu  # (N, K, D)
    slow = -torch.einsum("nkd,kde,nke->nk", d, torch.diag_embed(model.log_beta.exp()), d)
    assert torch.allclose(model(x), slow, rtol=1e-12, atol=1e-12)
    assert (model(x) <= 0).all()
    assert model(model.mu[2].view(1, 1, 3, 4))[0, 2].item() == pytest.approx(0, abs=1e-12)


def test_the_loss_is_the_cross_entropy_of_independent_classes() -> None:
    model, x, y = network()
    p, own = model(x).exp(), F.one_hot(y, 5).double()
    slow = F.binary_cross_entropy(p, own, reduction="none").sum(1)
    assert torch.allclose(surprise_of_rbf(Goal(y, y, 1.0), model(x)), slow, rtol=1e-10)
    assert rbf_loss(model, x, y).item() == pytest.approx(slow.mean().item(), rel=1e-10)


def test_fgsm_climbs_the_loss_that_was_trained() -> None:
    model, x, y = network()
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(rbf_loss(model, leaf, y), leaf)
    found = FGSM(eps=0.25, loss=surprise_of_rbf)(model, x, y, bounds=(-1, 2), stop="never").x_adv
    assert torch.allclose(found, x + 0.25 * gradient.sign(), atol=1e-12)


def test_agreement_counts_mistakes_only() -> None:
    y = torch.tensor([0, 0, 0, 0, 0, 0])
    first, second = torch.tensor([0, 1, 1, 2, 3, 0]), torch.tensor([0, 1, 0, 1, 3, 4])
    where_first, where_both = agreement(first, second, y)
    assert where_first.value == 2 / 4
    assert where_both.value == 2 / 3
    assert [math.isnan(v) for v in where_both.samples] == [True, False, True, False, False, True]


def test_rubbish_counts_from_more_than_a_half() -> None:
    p = torch.tensor([[0.5, 0.5], [0.6, 0.1], [0.2, 0.9], [0.0, 0.0]], dtype=torch.float64)
    often, sure = taken(p)
    assert often.samples == [0, 1, 1, 0]
    assert sure.value == pytest.approx(0.75)
