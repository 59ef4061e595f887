"""BIM, MI-FGSM and PGD in l1: the updates of the papers, and the exact projection onto ball and box."""

import pytest
import torch

from advkit.attacks import BIM, FGSM, MIFGSM, PGD
from advkit.core.norms import get_norm
from advkit.core.threat import Threat
from advkit.testing import AffineClassifier
from advkit.testing._toys import toy_case


def test_one_step_of_bim_of_length_eps_is_fgsm() -> None:
    case = toy_case(1)
    step = BIM(steps=1, step_size=0.1)(case.model, case.x, case.y, eps=0.1, stop="never")
    assert torch.equal(step.x_adv, FGSM(eps=0.1)(case.model, case.x, case.y, stop="never").x_adv)


def test_mifgsm_without_memory_is_bim() -> None:
    case = toy_case(2)
    for norm, eps in (("linf", 0.1), ("l2", 0.4)):
        forgetful = MIFGSM(norm=norm, decay=0)(case.model, case.x, case.y, eps=eps, stop="never")
        plain = BIM(norm=norm)(case.model, case.x, case.y, eps=eps, stop="never")
        assert torch.allclose(forgetful.x_adv, plain.x_adv, atol=1e-12)


def test_mifgsm_scales_each_sample_by_its_own_gradient() -> None:
    case = toy_case(3)
    scale = 10.0 ** torch.arange(-4, 5, dtype=torch.float64)  # (9,)
    found = [
        MIFGSM(eps=0.1, loss="margin")(model, case.x, case.y, stop="never").x_adv
        for model in (case.model, lambda x: case.model(x) * scale[:, None])
    ]
    assert torch.allclose(*found, atol=1e-12)


def test_the_velocity_of_mifgsm_is_the_sum_of_unit_gradients() -> None:
    case = toy_case(4)
    x, velocity, eps = case.x.clone(), torch.zeros_like(case.x), 0.05
    for _ in range(4):
        leaf = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(torch.nn.functional.cross_entropy(case.model(leaf), case.y, reduction="sum"), leaf)
        velocity = 0.9 * velocity + g / g.abs().sum((1, 2, 3), keepdim=True)
        x = torch.clamp(x + eps / 2 * velocity.sign(), case.x - eps, case.x + eps).clamp(0, 1)
    last = MIFGSM(steps=4, step_size=eps / 2, decay=0.9)(case.model, case.x, case.y, eps=eps, stop="never")
    leads = [-torch.nn.functional.cross_entropy(case.model(p), case.y, reduction="none") for p in (last.x_adv, x)]
    assert bool((leads[0] <= leads[1] + 1e-9).all())  # it returns the strongest point, no weaker than the last
    assert bool(((last.x_adv - x).abs().flatten(1).amax(1) < 1e-9).any())


def test_one_step_of_pgd_is_evaluated() -> None:
    case = toy_case(5)
    for norm, eps in (("linf", 0.1), ("l2", 0.4), ("l1", 1.5)):
        found = PGD(steps=1, norm=norm, random_start=False)(case.model, case.x, case.y, eps=eps, stop="never")
        assert bool(((found.x_adv != case.x).flatten(1).any(1) | found.zero_gradient).any())


def nearest_by_bisection(d: torch.Tensor, eps: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """The projection onto ball and box by bisection over the multiplier, row by row."""
    room = torch.where(d > 0, high, -low)
    a, b = torch.zeros(len(d), 1, dtype=d.dtype), d.abs().amax(1, keepdim=True)
    for _ in range(200):
        middle = (a + b) / 2
        over = torch.minimum((d.abs() - middle).clamp(min=0), room).sum(1, keepdim=True) > eps
        a, b = torch.where(over, middle, a), torch.where(over, b, middle)
    whole = torch.minimum(d.abs(), room)
    shrunk = torch.minimum((d.abs() - b).clamp(min=0), room)
    return torch.where(whole.sum(1, keepdim=True) > eps, shrunk, whole) * d.sign()


@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 30.0])
@pytest.mark.parametrize("eps", [0.05, 0.7, 3.0, 100.0])
def test_the_l1_projection_is_the_nearest_point_of_ball_and_box(scale: float, eps: float) -> None:
    source = torch.Generator().manual_seed(int(10 * scale))
    x = torch.rand(40, 17, generator=source, dtype=torch.float64)
    x[0], x[1] = 0, 1
    d = scale * torch.randn(40, 17, generator=source, dtype=torch.float64)
    d[2] = 0
    region = Threat("l1", eps).around(x)
    found = region.project(x + d) - x
    assert torch.allclose(found, nearest_by_bisection(d, eps, region.low - x, region.high - x), atol=1e-10)
    assert torch.allclose(region.project(x + found) - x, found, atol=1e-12)  # idempotent


def test_pgd_reaches_the_least_l1_radius_of_an_affine_net() -> None:
    model = AffineClassifier.random((2, 4, 4), 2, seed=3)
    x = 0.3 + 0.4 * torch.rand(8, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = model(x).argmax(1).detach()
    nearest, _ = model.nearest(x, y, "l1")
    for attack in (PGD(norm="l1", steps=20), BIM(norm="l1", steps=20)):
        assert bool(attack(model, x, y, eps=1.02 * nearest).success.all())
        assert not bool(attack(model, x, y, eps=0.98 * nearest).success.any())


def test_a_sparse_step_moves_the_share_asked_for_and_no_entry_that_is_stuck() -> None:
    x = torch.full((2, 100), 0.5, dtype=torch.float64)
    g = torch.arange(1.0, 101, dtype=torch.float64).repeat(2, 1)
    at = x.clone()
    at[1, -3:] = 1.0
    step = get_norm("l1").ascent(g, at, torch.zeros_like(x), torch.ones_like(x), 0.05)
    assert step[0].nonzero().flatten().tolist() == [95, 96, 97, 98, 99]
    assert step[1].nonzero().flatten().tolist() == [92, 93, 94, 95, 96]
    assert torch.allclose(step.sum(1), torch.ones(2, dtype=torch.float64))
