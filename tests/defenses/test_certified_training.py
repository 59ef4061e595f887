"""Training on certified bounds: the bounds are those that certify computes, and networks learn by them."""

import copy

import pytest
import torch
from torch import Tensor, nn

from advkit.certification import certify
from advkit.certification.trained_bounds import TrainedBounds, tracing_of
from advkit.core.errors import InputError
from advkit.defenses import CROWNIBP, IBP, create_defense, interval_init
from advkit.models import create_model


def small(*extra: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 4, 3), *extra, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def images(n: int = 5, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.rand(n, 1, size, size, generator=generator, dtype=torch.float64), torch.arange(n) % 3


@pytest.mark.parametrize("extra", [(), (nn.BatchNorm2d(4),), (nn.Dropout(0.5),)], ids=["plain", "norm", "dropout"])
@pytest.mark.parametrize("eps", [0.0, 0.05, 0.5])
def test_interval_margins_are_those_of_certify(extra: tuple[nn.Module, ...], eps: float) -> None:
    model, (x, y) = small(*extra), images()
    margin = TrainedBounds(model, x, eps).interval_margins(y)
    torch.testing.assert_close(margin, certify(model, x, y, eps=eps, method="ibp").margin, atol=1e-9, rtol=0)


@pytest.mark.parametrize("eps", [0.05, 0.5])
def test_linear_margins_are_those_of_certify(eps: float) -> None:
    model, (x, y) = small(), images()
    found = TrainedBounds(model, x, eps)
    best = torch.maximum(found.linear_margins(y), found.interval_margins(y))
    certified = certify(model, x, y, eps=eps, method="crown_ibp")
    open_ = ~certify(model, x, y, eps=eps, method="ibp").certified  # certify bounds the others by intervals alone
    torch.testing.assert_close(best[open_], certified.margin[open_], atol=1e-9, rtol=0)


@pytest.mark.parametrize("loss", [IBP(eps=0.1), CROWNIBP(eps=0.1, beta=1.0)], ids=["ibp", "crown_ibp"])
def test_the_loss_bounds_that_of_every_point_of_the_ball(loss: IBP) -> None:
    model, (x, y) = small(), images()
    worst = loss.at(1.0).__class__(**{**vars(loss), "kappa": 0.0})(model, x, y)
    for seed in range(50):
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype) * 0.2 - 0.1
        z = (x + noise.sign() * 0.1 if seed % 2 else x + noise).clamp(0, 1)
        assert nn.functional.cross_entropy(model(z), y) <= worst + 1e-12


def test_a_step_of_the_optimizer_is_seen_without_tracing_again() -> None:
    model, (x, y) = small(), images()
    first = tracing_of(model, x)
    before = IBP(eps=0.1)(model, x, y)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.5)
    assert tracing_of(model, x) is first
    after = IBP(eps=0.1)(model, x, y)
    assert after == IBP(eps=0.1)(copy.deepcopy(model), x, y) != before


def test_another_layer_is_traced_anew() -> None:
    model, (x, y) = small(), images()
    IBP(eps=0.1)(model, x, y)
    model[-1] = nn.Linear(8, 3).double()
    assert IBP(eps=0.1)(model, x, y) == IBP(eps=0.1)(copy.deepcopy(model), x, y)


def test_two_losses_before_one_backward_keep_their_batch_norm() -> None:
    model, loss = small(nn.BatchNorm2d(4)), IBP(eps=0.1)
    torch.stack([loss(model, *images(n)) for n in (4, 5)]).sum().backward()


def test_the_ramp_goes_from_the_clean_loss_to_the_whole() -> None:
    loss = CROWNIBP(eps=0.4, kappa=0.5, beta=0.0)
    begin, middle, end = (loss.at(share) for share in (1e-9, 0.5, 1.0))
    assert (begin.kappa, begin.beta) == pytest.approx((1, 1), abs=1e-6)
    assert (middle.eps, middle.kappa, middle.beta) == (0.2, 0.75, 0.5)
    assert end == loss


def test_networks_of_the_library_have_gradients() -> None:
    model = create_model("lenet5", seed=0)
    x, y = torch.rand(2, 1, 32, 32), torch.tensor([1, 2])
    create_defense("crown_ibp(eps=0.01, beta=0.5)")(model, x, y).backward()
    assert all(bool(p.grad is not None and p.grad.any()) for p in model.parameters())


def test_interval_init_keeps_the_width_of_intervals() -> None:
    def growth(model: nn.Module) -> float:
        low, high = TrainedBounds(model, torch.full((1, 256), 0.5), 0.1).ends[-2]
        return float((high - low).mean().detach() / 0.2)

    torch.manual_seed(0)
    model = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(256, 256), nn.ReLU())), nn.Linear(256, 10))
    plain = growth(model)
    interval_init(model)
    assert 0.3 < growth(model) < 3 < plain


def test_wrong_numbers_and_layers_are_refused() -> None:
    for spec in ("ibp(eps=0)", "ibp(eps=0.1, kappa=2)", "crown_ibp(eps=0.1, beta=-1)"):
        with pytest.raises(InputError):
            create_defense(spec)
    x, y = images(2)
    with pytest.raises(InputError, match="no bound is known of sin"):
        IBP(eps=0.1)(nn.Sequential(nn.Flatten(), Sine(), nn.Linear(36, 3).double()), x, y)


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()
