"""Smooth activations: their facts are true, their lines hold and are tight, and no point lies below the bounds."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from advkit.certification import certify, lipschitz
from advkit.certification.curves import Smooth
from advkit.certification.graph import trace
from advkit.core.errors import InputError
from tests.certification.test_rules_of_layers import points

CURVES = {
    "SiLU": nn.SiLU(),
    "GELU": nn.GELU(),
    "GELU by tanh": nn.GELU(approximate="tanh"),
    "Mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "a steep softplus with a low threshold": nn.Softplus(beta=3, threshold=2),
    "ELU": nn.ELU(),
    "ELU with a corner upwards": nn.ELU(alpha=0.3),
    "ELU with a corner downwards": nn.ELU(alpha=1.8),
    "ELU that turns": nn.ELU(alpha=-0.5),
    "SELU": nn.SELU(),
    "CELU": nn.CELU(alpha=0.4),
    "hardswish": nn.Hardswish(),
}


def curve(layer: nn.Module) -> Smooth:
    """The node that the layer becomes."""
    found = [
        n.operation for n in trace(layer, torch.rand(1, 7).double()).graph().nodes if isinstance(n.operation, Smooth)
    ]
    (only,) = found
    return only


def intervals(widest: float) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    low = 12 * torch.rand(300, 7, dtype=torch.float64, generator=draws) - 7
    return low, low + widest * torch.rand(300, 7, dtype=torch.float64, generator=draws) ** 3


def grid(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    return low + (high - low) * torch.linspace(0, 1, 401, dtype=torch.float64)[:, None, None]


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("widest", [0.1, 3.0, 40.0])
def test_the_lines_and_the_interval_hold(name: str, widest: float) -> None:
    operation, (low, high) = curve(CURVES[name]), intervals(widest)
    lines, (least, most) = operation.lines(low, high), operation.interval(low, high)
    z = grid(low, high)
    with torch.no_grad():
        value = CURVES[name](z)
    below, above = value - lines.low_slope * z - lines.low_offset, lines.high_slope * z + lines.high_offset - value
    assert float(below.min()) > -1e-12
    assert float(above.min()) > -1e-12
    loose = operation.bend * ((high - low) / 48) ** 2 / 4 + 2 * operation.jump  # that each line may stay away
    seen = operation.slope * (high - low) / 400  # between two points of the grid
    assert bool((below.amin(0) <= loose + 2 * seen + 1e-12).all())
    assert bool((above.amin(0) <= loose + 2 * seen + 1e-12).all())
    assert float((value.amin(0) - least).min()) > -1e-12
    assert float((most - value.amax(0)).min()) > -1e-12
    assert bool((value.amin(0) - least <= seen + 2 * operation.jump + 1e-12).all())
    assert bool((most - value.amax(0) <= seen + 2 * operation.jump + 1e-12).all())


@pytest.mark.parametrize("name", CURVES)
def test_what_is_said_of_the_function_is_true(name: str) -> None:
    operation = curve(CURVES[name])
    z = torch.linspace(-30, 30, 600_001, dtype=torch.float64)
    for corner in (*operation.corners, *operation.turns):
        z = z[(z - corner).abs() > 1e-9]
    z.requires_grad_()
    (slope,) = torch.autograd.grad(CURVES[name](z).sum(), z, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), z, allow_unused=True)
    assert 0.97 * operation.slope <= float(slope.detach().abs().max()) <= operation.slope
    assert 0.97 * operation.bend <= float(bend.detach().abs().max()) <= operation.bend * (1 + 1e-9)
    signs = slope.detach().sign()
    signs[slope.detach().abs() < 1e-9] = 0  # a tail that rounding has made flat
    kept = signs != 0
    turned = (signs[kept][1:] != signs[kept][:-1]).nonzero().flatten()
    places = z.detach()[kept][turned].tolist()
    assert len(places) == len([t for t in operation.turns if _does_turn(name)])
    assert all(min(abs(place - t) for t in operation.turns) < 2e-4 for place in places)
    for turn in operation.turns:
        if turn not in operation.corners:
            at = torch.tensor(turn, dtype=torch.float64, requires_grad=True)
            assert abs(float(torch.autograd.grad(CURVES[name](at), at)[0])) < 1e-12


def _does_turn(name: str) -> bool:
    """ELU has a turn at its corner only with alpha < 0."""
    return name not in ("ELU", "ELU with a corner upwards", "ELU with a corner downwards", "SELU", "CELU")


def network(layer: nn.Module) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), layer, nn.Conv2d(3, 2, 3), layer, nn.Flatten(), nn.Linear(50, 8), layer,
        nn.Linear(8, 4),
    )  # fmt: skip
    x = torch.rand(3, 1, 7, 7)
    with torch.no_grad():
        model[0].weight.mul_(4)
        return model.eval(), x, model(x).argmax(1)


@pytest.mark.filterwarnings("ignore::advkit.core.errors.AdvkitWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*CURVES, "hardsigmoid"])
def test_no_point_of_the_ball_lies_below_the_bounds(name: str, dtype: torch.dtype) -> None:
    model, x, y = network(CURVES.get(name, nn.Hardsigmoid()))
    model, x = model.to(dtype), x.to(dtype)
    for eps in (0.0, 0.01, 0.1):
        least = torch.full((3, 4), torch.inf, dtype=torch.float64)
        for point in points(model, x, y, eps) if eps else [x]:
            with torch.no_grad():
                logits = model(point).double()
            least = torch.minimum(least, logits.gather(1, y[:, None]) - logits)
        found = {
            m: certify(model, x, y, eps=eps, method=m).margin for m in ("ibp", "crown_ibp", "crown", "alpha_crown")
        }
        for margin in found.values():
            assert bool((margin <= least).all())
        if eps == 0.01:  # and it is a bound that says something
            assert float((least - found["crown"]).max()) < 0.5 * float(least.abs().max())
            assert float((found["crown"] - found["ibp"]).min()) >= 0
        if eps == 0:
            assert float((least - found["crown"]).max()) < (1e-3 if dtype == torch.float32 else 1e-6)


LARGE = [nn.ELU(alpha=3000.0), nn.Softplus(beta=1e-4), nn.CELU(alpha=300.0), nn.SELU(), nn.GELU()]


@pytest.mark.parametrize("layer", LARGE, ids=str)
def test_rounding_of_large_values_is_counted(layer: nn.Module) -> None:
    """At a ball of one point the bounds are the values themselves, but for rounding: here in float32 and float64."""
    torch.manual_seed(0)
    x, y = torch.rand(200, 1, 4, 4), torch.zeros(200, dtype=torch.int64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), layer)
    for net in (model, model.double()):
        own = x.to(next(net.parameters()).dtype)
        with torch.no_grad():
            logits = net(own).double()
        lead = logits[:, :1] - logits
        margin = certify(net, own, y, eps=0.0, method="crown").margin
        assert bool((margin <= lead).all())
        assert float((lead - margin).max()) < 1e-3 * max(1.0, float(logits.abs().max()))


def test_a_smooth_network_is_refused_by_exact_and_has_a_lipschitz_constant() -> None:
    model, x, y = network(nn.GELU())
    with pytest.raises(InputError, match="no split for GELU, in 1 "):
        certify(model, x, y, eps=0.1, method="exact")
    steep = [layer.norm for layer in lipschitz(model, x).layers if layer.kind == "GELU"]
    assert steep == [1.13] * 3
    with pytest.raises(InputError, match="beta <= 0"):
        certify(nn.Sequential(nn.Flatten(), nn.Softplus(beta=-1.0)), x, y, eps=0.1)


def test_functions_are_taken_as_their_modules_are() -> None:
    _, x, y = network(nn.SiLU())
    for function in (
        F.silu,
        F.softplus,
        F.elu,
        F.selu,
        F.gelu,
        lambda z: F.elu(z, 0.7),
        lambda z: F.softplus(z, beta=2),
    ):
        model = lambda z, f=function: f(z.flatten(1))[:, :4]  # noqa: E731
        margin = certify(model, x, y, eps=0.0, method="crown").margin
        logits = model(x).double()
        torch.testing.assert_close(margin, logits.gather(1, y[:, None]) - logits, rtol=0, atol=1e-4)
