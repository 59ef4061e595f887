"""Branch and bound against a mixed-integer program, and what it says of images that it cannot decide."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import PGD
from advkit.certification import certify
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


@pytest.mark.slow
def test_two_hundred_least_margins_are_those_of_the_mixed_integer_program() -> None:
    for seed in range(200):
        check_against_the_program(seed)
