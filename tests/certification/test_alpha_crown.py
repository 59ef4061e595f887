"""alpha-CROWN: every slope in [0, 1] is sound, the best bound counts, and none is below CROWN's."""

import pytest
import torch
from torch import Tensor, nn

from advkit.certification import certify
from advkit.certification.alpha_crown import raised
from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.graph import trace
from advkit.certification.inner import open_units, tightened
from advkit.certification.relu_and_pooling import Maximum
from advkit.certification.rounding import EXACT
from advkit.certification.windows import Windows, own_entry

K = 3


def network(pooled: bool = False) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(4)
    pool = [nn.MaxPool2d(2, 1)] if pooled else []
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), *pool, nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(K)
    ).double()
    x = torch.rand(3, 1, 6, 6, dtype=torch.float64)
    return net.eval(), x, net(x).argmax(1)


def bounded(net: nn.Module, x: Tensor, eps: float, norm: str = "linf") -> tuple[Bounds, Tensor]:
    """Bounds with one row for each image and pair of classes, and the coefficients of each."""
    made = Bounds(trace(net, x).graph(), ball_around(x, eps, norm, (0, 1)), EXACT)
    made.forward(refined=True)
    pairs = (torch.eye(K, dtype=torch.float64)[:, None] - torch.eye(K, dtype=torch.float64)).view(-1, K)
    return made.take(torch.arange(len(x)).repeat_interleave(K * K)), pairs.repeat(len(x), 1)


def least_seen(net: nn.Module, x: Tensor, C: Tensor, eps: float) -> Tensor:
    """The least value of every function on corners of the ball and on points to which gradients lead."""
    x = x.repeat_interleave(K * K, 0)
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    least = torch.full((len(x),), torch.inf, dtype=torch.float64)
    draws = torch.Generator().manual_seed(0)
    for k in range(40):
        point = torch.where(torch.rand(x.shape, generator=draws) < 0.5, low, high)
        for _ in range(5 if k < 5 else 1):
            leaf = point.requires_grad_()
            value = (net(leaf) * C).sum(1)
            least = torch.minimum(least, value.detach())
            (g,) = torch.autograd.grad(value.sum(), leaf)
            point = torch.where(g > 0, low, high)
    return least


@pytest.mark.parametrize("pooled", [False, True])
def test_every_slope_between_0_and_1_is_sound(pooled: bool) -> None:
    net, x, _ = network(pooled)
    made, C = bounded(net, x, 0.1)
    least = least_seen(net, x, C, 0.1)
    start = raised(made, C, steps=0)
    assert (start.bound <= least).all()
    for seed in range(10):
        draws = torch.Generator().manual_seed(seed)
        alpha = {i: torch.rand(t.shape, generator=draws).round(decimals=seed % 2) for i, t in start.alpha.items()}
        assert (raised(made, C, alpha=alpha, steps=0).bound <= least).all()


@pytest.mark.parametrize("pooled", [False, True])
def test_the_ascent_stays_where_slopes_are_sound(pooled: bool) -> None:
    """Long steps run into both ends, so that a wrong clamp shows."""
    net, x, _ = network(pooled)
    made, C = bounded(net, x, 0.1)
    least = least_seen(net, x, C, 0.1)
    for step_size in (0.25, 20.0):
        found = raised(made, C, step_size=step_size)
        assert (found.bound <= least).all()
        assert all(0 <= float(t.min()) <= float(t.max()) <= 1 for t in found.alpha.values())
        again = raised(made, C, alpha=found.alpha, steps=0)
        torch.testing.assert_close(again.bound, found.bound, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.06), ("l2", 0.3), ("l1", 0.8)])
def test_no_margin_is_below_that_of_crown_and_most_open_ones_are_above(norm: str, eps: float) -> None:
    net, x, y = network()
    crown = certify(net, x, y, eps=eps, norm=norm).margin
    alpha = certify(net, x, y, eps=eps, norm=norm, method="alpha_crown").margin
    assert (alpha >= crown).all()
    left = crown < 0
    assert left.any()
    assert float((alpha > crown + 1e-6)[left].double().mean()) > 0.5


def test_a_network_without_bends_is_left_alone() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 1])
    one, other = (certify(net, x, y, eps=0.5, method=m).margin for m in ("crown", "alpha_crown"))
    assert torch.equal(one, other)


def test_the_lines_of_a_rectifier_are_those_of_a_window_of_one() -> None:
    """The short way and the general one, with and without assumptions; bounds of one sign and of 0 included."""
    draws = torch.Generator().manual_seed(0)
    low, high = torch.randn(2, 3, 40, dtype=torch.float64, generator=draws).sort(0).values
    low[:, :4], high[:, 2:6] = 0, 0
    low, high = torch.minimum(low, high), torch.maximum(low, high)
    windows = Windows(shape=(40,), index=torch.arange(40)[None])
    short, general = (Maximum(windows=w, rectified=True) for w in (own_entry((40,)), windows))
    splits = torch.randint(-1, 2, (3, 1, 40), generator=draws, dtype=torch.int8)
    for assumed in (None, splits):
        one, other = short.lines(low, high, assumed), general.lines(low, high, assumed)
        for name in ("low_slope", "low_offset", "high_slope", "high_offset", "free"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-15, rtol=1e-15, msg=name)
    beta = torch.rand(3, 1, 40, dtype=torch.float64, generator=draws)
    assert torch.equal(short.constrained(splits, beta), general.constrained(splits, beta))


def test_alpha_crown_are_chosen_in_float32_and_proven_in_float64() -> None:
    net, x, _ = network()
    net, x = net.float(), x.float()
    made, C = bounded(net, x, 0.1)
    assert (made.ball.x.dtype, made.light().ball.x.dtype) == (torch.float64, torch.float32)
    found = raised(made, C)
    again = raised(made, C, alpha=found.alpha, steps=0)
    assert torch.equal(again.bound, found.bound)
    assert found.bound.dtype == torch.float64
    double = raised(made, C, light=made)
    torch.testing.assert_close(found.bound, double.bound, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("pooled", [False, True])
def test_bounds_of_the_units_inside_are_sound_and_no_looser(pooled: bool) -> None:
    net, x, _ = network(pooled)
    x, eps = x[:1], 0.1
    graph = trace(net, x).graph()
    made = Bounds(graph, ball_around(x, eps, "linf", (0, 1)), EXACT)
    made.forward(refined=True)
    better = tightened(made)
    place = graph.fronts[-1]
    assert int(open_units(made)) > 0
    assert (better.low[place] >= made.low[place]).all()
    assert (better.high[place] <= made.high[place]).all()
    wider = (made.high[place] - made.low[place]) - (better.high[place] - better.low[place])
    assert float(wider.detach().max()) > 1e-3
    inside: list[Tensor] = []
    hook = next(m for m in reversed(list(net)) if isinstance(m, nn.Conv2d)).register_forward_hook(
        lambda *seen: inside.append(seen[2])
    )
    draws = torch.Generator().manual_seed(0)
    for k in range(60):
        noise = 2 * torch.rand(x.shape, generator=draws, dtype=x.dtype) - 1
        net((x + eps * (noise.sign() if k % 2 else noise)).clamp(0, 1))
    hook.remove()
    values = torch.cat(inside)
    assert (values >= better.low[place]).all()
    assert (values <= better.high[place]).all()
