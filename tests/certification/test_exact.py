"""Branch and bound against a mixed-integer program, and what it says of images that it cannot decide."""

import importlib
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import PGD
from advkit.certification import certify
from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.graph import trace
from advkit.certification.inner import tightened
from advkit.certification.rounding import EXACT
from advkit.core.errors import InputError


def small_net(seed: int, sizes: tuple[int, ...] = (4, 5, 4, 3)) -> nn.Sequential:
    """A random network of linear layers and rectifiers in float64."""
    torch.manual_seed(seed)
    layers = [nn.Flatten()]
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m), nn.ReLU()]
    net = nn.Sequential(*layers[:-1]).double()
    for p in net.parameters():
        nn.init.normal_(p)
    return net


def least_margin(net: nn.Sequential, x: Tensor, eps: float, c: np.ndarray) -> float:
    """min <c, net(z)> over |z - x| <= eps in [0, 1]: a mixed-integer program over all layers."""
    optimize = pytest.importorskip("scipy.optimize")
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in net if isinstance(m, nn.Linear)]
    hidden = [len(b) for _, b in layers[:-1]]
    n, units = x.numel(), sum(hidden)
    total = n + 2 * units  # z, the rectified values, whether each unit is active
    low, high = (np.clip(x.flatten().numpy() + s * eps, 0, 1) for s in (-1, 1))
    A, least, most, ends, before, at = [], [], [], [(low, high)], slice(0, n), n
    for (W, b), h in zip(layers, hidden, strict=False):
        z, t = slice(at, at + h), slice(at + units, at + units + h)
        lo, hi = ends[-1]
        l = np.maximum(W, 0) @ lo + np.minimum(W, 0) @ hi + b  # noqa: E741
        u = np.maximum(W, 0) @ hi + np.minimum(W, 0) @ lo + b
        big = np.maximum(np.abs(l), np.abs(u)) + 1
        above, below, off = (np.zeros((h, total)) for _ in range(3))
        above[:, z], above[:, before] = np.eye(h), -W  # a - W z >= b
        below[:, z], below[:, before], below[:, t] = np.eye(h), -W, np.diag(big)  # a - W z + big t <= b + big
        off[:, z], off[:, t] = np.eye(h), -np.diag(big)  # a <= big t
        A += [above, below, off]
        least += [b, np.full(h, -np.inf), np.full(h, -np.inf)]
        most += [np.full(h, np.inf), b + big, np.zeros(h)]
        ends.append((np.zeros(h), np.maximum(u, 0)))
        before, at = z, at + h
    cost = np.zeros(total)
    cost[before] = c @ layers[-1][0]
    whole = np.concatenate([np.zeros(n + units), np.ones(units)])
    lows = np.concatenate([low, np.zeros(2 * units)])
    highs = np.concatenate([high, *(u for _, u in ends[1:]), np.ones(units)])
    rows = optimize.LinearConstraint(np.concatenate(A), np.concatenate(least), np.concatenate(most))
    tight = {"mip_rel_gap": 0.0}
    found = optimize.milp(cost, constraints=rows, integrality=whole, bounds=optimize.Bounds(lows, highs), options=tight)
    return float(found.fun + c @ layers[-1][1])


def check_against_the_program(seed: int) -> None:
    net = small_net(seed)
    x, eps = torch.rand(1, 1, 2, 2, dtype=torch.float64), 0.3
    y = net(x).argmax(1)
    found = certify(net, x, y, eps=eps, method="exact", tolerance=1e-8)
    rivals = [k for k in range(3) if k != int(y)]
    exact = [least_margin(net, x[0], eps, np.eye(3)[int(y)] - np.eye(3)[k]) for k in rivals]
    assert found.margin[0, rivals].tolist() == pytest.approx(exact, abs=1e-6)
    plain = certify(net, x, y, eps=eps, method="exact")
    assert plain.exact
    assert bool(plain.certified) == (min(exact) > 0)
    assert plain.broken is not None
    assert bool(plain.broken) == (min(exact) < 0)
    if bool(plain.broken):
        assert net(plain.x_adv).argmax(1) != y
        assert float((plain.x_adv - x).abs().max()) <= eps


@pytest.mark.parametrize("seed", range(8))
def test_the_least_margin_is_that_of_the_mixed_integer_program(seed: int) -> None:
    check_against_the_program(seed)


@pytest.mark.parametrize("seed", range(6))
def test_a_search_that_folds_the_network_at_once_finds_it_too(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("advkit.certification.exact"), "SHARE", 10**9)
    check_against_the_program(seed)


@pytest.mark.slow
def test_two_hundred_least_margins_are_those_of_the_mixed_integer_program() -> None:
    for seed in range(200):
        check_against_the_program(seed)


class Maxout(nn.Module):
    """Maximum of pairs, and max pooling of rectified maps; `plain`: the same by rectifiers, a + max(0, b - a)."""

    def __init__(self, plain: bool, rectified: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(4, 3), nn.Linear(3, 3)
        self.plain, self.rectified = plain, rectified
        self.double()
        for p in self.parameters():
            nn.init.normal_(p)

    def forward(self, x: Tensor) -> Tensor:
        z = self.a(x.flatten(1)).view(-1, 4, 2)
        z = z[..., 0] + (z[..., 1] - z[..., 0]).relu() if self.plain else z.amax(2)
        z = z.relu() if self.rectified else z
        return self.out(self.b(z).relu())


@pytest.mark.parametrize("rectified", [False, True])
def test_maxima_are_split_as_well_as_the_rectifiers_they_are_made_of(
    rectified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(4, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    nets = [Maxout(plain, rectified) for plain in (False, True)]
    y = nets[0](x).argmax(1)
    one, other = (certify(net, x, y, eps=0.3, method="exact", tolerance=1e-8) for net in nets)
    assert (one.margin < certify(nets[0], x, y, eps=0.0).margin)[y[:, None] != torch.arange(3)].all()
    torch.testing.assert_close(one.margin, other.margin, atol=1e-6, rtol=0)
    monkeypatch.setattr(importlib.import_module("advkit.certification.exact"), "SHARE", 10**9)
    folded = certify(nets[0], x, y, eps=0.3, method="exact", tolerance=1e-8)
    torch.testing.assert_close(folded.margin, other.margin, atol=1e-6, rtol=0)


def some_net() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 8), nn.ReLU(),
        nn.Linear(8, 3),
    )  # fmt: skip
    x = torch.rand(6, 1, 6, 6)
    return net, x, net(x).argmax(1)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.06), ("l2", 0.4), ("l1", 1.0)])
def test_every_image_is_certified_or_broken_by_its_point(norm: str, eps: float) -> None:
    net, x, y = some_net()
    crown = certify(net, x, y, eps=eps, norm=norm)
    found = certify(net, x, y, eps=eps, norm=norm, method="exact")
    assert found.broken is not None
    assert found.x_adv is not None
    assert not (found.certified & found.broken).any()
    assert found.exact
    assert (found.certified >= crown.certified).all()
    assert found.certified.sum() + found.broken.sum() == 6
    assert found.broken.any()
    assert (found.certified & ~crown.certified).any() or norm != "linf"
    wrong = net(found.x_adv).argmax(1) != y
    assert torch.equal(wrong, found.broken)
    size = {"linf": float("inf"), "l2": 2, "l1": 1}[norm]
    assert ((found.x_adv.double() - x.double()).flatten(1).norm(p=size, dim=1) <= eps * (1 + 1e-6)).all()
    assert 0 <= float(found.x_adv.min()) <= float(found.x_adv.max()) <= 1


def test_images_that_linear_bounds_certify_need_no_search_in_l1() -> None:
    """Intervals leave them open and CROWN does not: the search has no parts, and steps in l1 take no empty batch."""
    net, x, y = some_net()
    ibp, crown = (certify(net, x, y, eps=0.2, norm="l1", method=m).certified for m in ("ibp", "crown"))
    n = (crown & ~ibp).nonzero().squeeze(1)
    assert len(n)
    assert bool(certify(net, x[n], y[n], eps=0.2, norm="l1", method="exact").certified.all())


def test_what_the_limits_leave_open_is_said() -> None:
    net, x, y = some_net()
    found = certify(net, x, y, eps=0.06, method="exact", nodes=1)
    whole = certify(net, x, y, eps=0.06, method="exact")
    assert found.undecided.any()
    assert not found.exact
    assert "undecided" in str(found)
    assert "Exactly" in str(whole)
    assert (found.margin <= whole.margin + 1e-9)[found.undecided].all()
    assert not (found.certified & ~whole.certified).any()


def test_points_handed_down_are_tried_and_a_batch_is_its_images() -> None:
    net, x, y = some_net()

    def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return PGD(eps=0.06)(model, x, y).x_adv

    found = certify(net, x, y, eps=0.06, method="exact", attack=attack)
    alone = [certify(net, x[n : n + 1], y[n : n + 1], eps=0.06, method="exact") for n in range(6)]
    assert torch.equal(found.certified, torch.cat([one.certified for one in alone]))
    assert found.broken is not None
    assert torch.equal(found.broken, ~found.certified)
    assert (found.broken >= PGD(eps=0.06)(net, x, y).success).all()


def test_a_network_that_cannot_be_split_and_wrong_options_are_refused() -> None:
    x, y = torch.rand(1, 1, 2, 2), torch.tensor([0])
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    with pytest.raises(InputError, match="no split for tanh, in 2 "):
        certify(net, x, y, eps=0.1, method="exact")
    with pytest.raises(InputError, match="nodes belongs to method='exact'"):
        certify(net, x, y, eps=0.1, nodes=3)
    with pytest.raises(InputError, match="time_limit"):
        certify(net, x, y, eps=0.1, method="exact", time_limit=-1)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_least_margins_of_an_affine_network_have_a_closed_form(norm: str) -> None:
    """In the middle of the range the ball is whole: each margin falls by eps times the dual norm of its slope."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 4), nn.BatchNorm1d(4)).double().eval()
    x = 0.4 + 0.2 * torch.rand(3, 1, 6, 6, dtype=torch.float64)
    y, eps = net(x).argmax(1), 0.05
    dual = {"linf": 1, "l2": 2, "l1": float("inf")}[norm]
    rows = torch.autograd.functional.jacobian(lambda z: net(z).sum(0), x).flatten(2)  # (K, N, D)
    found = certify(net, x, y, eps=eps, norm=norm, method="exact", tolerance=1e-9)
    for n in range(3):
        for k in (k for k in range(4) if k != int(y[n])):
            slope = rows[y[n], n] - rows[k, n]
            lead = (net(x)[n, y[n]] - net(x)[n, k]).item()
            assert found.margin[n, k].item() == pytest.approx(lead - eps * slope.norm(p=dual).item(), abs=1e-8)
    assert found.exact
    assert found.broken is not None
    assert torch.equal(found.certified, ~found.broken)


def test_a_network_of_more_than_ten_layers_is_bounded_soundly() -> None:
    """Twelve layers: no certified image falls, tighter methods have larger margins, and what is broken is."""
    torch.manual_seed(4)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten()]
    for n, m in itertools.pairwise((36, *[16] * 10, 3)):
        layers += [nn.Linear(n, m), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.normal_(module.bias, std=0.1)
    x = torch.rand(8, 1, 6, 6)
    y, eps = net(x).argmax(1), 0.03
    crown, alpha = (certify(net, x, y, eps=eps, method=m) for m in ("crown", "alpha_crown"))
    exact = certify(net, x, y, eps=eps, method="exact", nodes=20)
    fooled = PGD(eps=eps, steps=20)(net, x, y).success
    assert (alpha.margin >= crown.margin).all()
    assert (exact.certified >= alpha.certified).all()
    assert 0 < int(exact.certified.sum()) < 8
    assert fooled.any()
    assert not (fooled & exact.certified).any()
    assert exact.broken is not None
    assert exact.x_adv is not None
    assert torch.equal((net(exact.x_adv).argmax(1) != y), exact.broken)


class Hidden(nn.Module):
    """A network whose answers are those of another, and which shows no gradient of the pixels."""

    def __init__(self, net: nn.Module, where: str) -> None:
        super().__init__()
        self.net, self.where = net, where
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        if self.where == "no_grad":
            with torch.no_grad():
                return self.net(x)
        return self.net(x).detach() * (self.scale if self.where == "pixels" else 1)


@pytest.mark.parametrize("where", ["no_grad", "detach", "pixels"])
def test_a_network_that_shows_no_gradient_is_searched_all_the_same(where: str) -> None:
    net = small_net(2)
    x = torch.rand(6, 4, dtype=torch.float64)
    y = net(x).argmax(1)
    plain = certify(net, x, y, eps=0.3, method="exact")
    found = certify(Hidden(net, where), x, y, eps=0.3, method="exact")
    assert plain.certified.any()
    assert plain.broken.any()
    assert torch.equal(found.certified, plain.certified)
    assert torch.equal(found.broken, plain.broken)


class Beside(nn.Module):
    """Two rectifiers side by side: bends that stand before a unit in the list, and not in its past."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 2, 3, padding=1), nn.Linear(256, 5)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        return self.last(torch.cat([z.relu(), (-z).relu()], 1).flatten(1))


def test_rectifiers_side_by_side_have_tighter_bounds_inside() -> None:
    torch.manual_seed(1)
    net, x = Beside().requires_grad_(False), torch.rand(1, 3, 8, 8)
    made = Bounds(trace(net, x).graph(), ball_around(x, 0.1, "linf", (0, 1)), EXACT)
    with torch.no_grad():
        made.forward(refined=True)
    better = tightened(made)
    for place in made.graph.fronts:
        assert bool((better.low[place] >= made.low[place]).all())
        assert bool((better.low[place] <= better.high[place]).all())
        assert bool((better.high[place] <= made.high[place]).all())


def test_points_of_an_attack_object_are_tried_and_other_answers_are_refused() -> None:
    net, x, y = some_net()
    found = certify(net, x, y, eps=0.06, method="exact", attack=PGD(eps=0.06), nodes=1)
    assert found.broken is not None
    assert bool(found.broken[PGD(eps=0.06)(net, x, y).success].all())
    wrong = {
        "points of shape": lambda model, x, y: x[:1],
        "NaN": lambda model, x, y: x * torch.nan,
        "got list": lambda *_: [],
    }
    for says, attack in wrong.items():
        with pytest.raises(InputError, match=says):
            certify(net, x, y, eps=0.06, method="exact", attack=attack)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="attack as an attack or a callable"):
        certify(net, x, y, eps=0.06, method="exact", attack="pgd")  # type: ignore[arg-type]
