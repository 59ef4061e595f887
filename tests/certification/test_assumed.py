"""Bounds inside that assume a counterexample hold at every counterexample, and a part without one is found empty."""

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advkit.certification import certify
from advkit.certification.alpha_crown import Relaxation
from advkit.certification.assumed import assumes, has_own_bounds, narrowed, with_bounds_of, with_own_bounds
from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.domains import Domains, whole_balls
from advkit.certification.graph import trace
from advkit.certification.rounding import EXACT

K, RIVALS = 4, 3


def network(seed: int = 0) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, K))
    net = net.double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.7)
    return net, torch.rand(1, 1, 2, 3, dtype=torch.float64)


def found_of(net: nn.Sequential, x: Tensor, eps: float, lift: float = 0.0) -> tuple[Domains, Bounds, Tensor, Tensor]:
    """The ball for each rival, its bounds, the functions, and corners and inner points of the ball."""
    with torch.no_grad():
        y = int(net(x).argmax())
        net[-1].bias[y] += lift
    made = Bounds(trace(net, x).graph(), ball_around(x, eps, "linf", (0, 1)), EXACT)
    made.forward(refined=True)
    rival = torch.tensor([k for k in range(K) if k != y])
    balls = whole_balls(made, torch.zeros_like(rival), rival, torch.full((RIVALS,), -torch.inf, dtype=torch.float64))
    eye = torch.eye(K, dtype=torch.float64)
    draws = torch.Generator().manual_seed(1)
    share = torch.rand(20_000, *x.shape[1:], dtype=torch.float64, generator=draws)
    share[::2] = share[::2].round()
    return (
        with_own_bounds(balls, made),
        made,
        eye[y] - eye[rival],
        made.ball.low + (made.ball.high - made.ball.low) * share,
    )


def check_what_is_narrowed(seed: int) -> None:
    """At every visited counterexample the units lie within the bounds; at some other points they do not."""
    net, x = network(seed)
    found, made, C, z = found_of(net, x, 0.3)
    place = made.graph.nodes[made.graph.bends[-1]].inputs[0]
    part = narrowed(found, made, made.light(), C, units=100, steps=20)
    with torch.no_grad():
        unit, margin = net[:4](z), net(z) @ C.T
    for row in range(RIVALS):
        wrong = unit[margin[:, row] <= 0]
        assert (wrong >= part.low[place][row] - 1e-9).all()
        assert (wrong <= part.high[place][row] + 1e-9).all()
        if part.bound[row] == torch.inf:
            assert not len(wrong)
    assert (part.low[place] >= found.low[place]).all()
    assert (part.high[place] <= found.high[place]).all()
    assert (part.high[place] - part.low[place]).sum() < 0.99 * (found.high[place] - found.low[place]).sum()


@pytest.mark.parametrize("seed", range(5))
def test_every_counterexample_lies_within_the_bounds_that_assume_one(seed: int) -> None:
    check_what_is_narrowed(seed)


def test_a_ball_without_a_counterexample_is_found_empty_or_nearly_so() -> None:
    net, x = network()
    found, made, C, z = found_of(net, x, 0.1, lift=3.0)
    assert (net(z) @ C.T > 0).all()
    light, bounds = made.light(), []
    for _ in range(6):
        found = narrowed(found, made, light, C, units=100, steps=20)
        bounds.append(found.bound)
    assert (bounds[-1] == torch.inf).all()


def test_units_that_are_split_keep_their_bounds_and_few_are_bounded_where_few_are_asked() -> None:
    net, x = network()
    found, made, C, _ = found_of(net, x, 0.3)
    bend = made.graph.bends[-1]
    place = made.graph.nodes[bend].inputs[0]
    found.splits[bend][:, 0, :5] = 1
    found = found._replace(age=found.age + 4)
    part = narrowed(found, made, made.light(), C, units=2, steps=5)
    changed = (part.low[place] != found.low[place]) | (part.high[place] != found.high[place])
    assert not changed[:, :5].any()
    assert (changed.sum(1) <= 2).all()
    assert changed.any()
    assert not part.age.any()


def test_only_networks_whose_last_bend_is_a_rectifier_behind_another_bend_are_narrowed() -> None:
    x = torch.rand(1, 1, 4, 4)
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3))
    shallow = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 3))
    deep = nn.Sequential(*list(pooled)[:-1], nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    assert [assumes(trace(net, x).graph()) for net in (pooled, shallow, deep, linear)] == [False, False, True, False]


def other_way(made: Callable[..., None], self: Relaxation, value: Tensor, adam: torch.optim.Adam) -> None:
    with torch.no_grad():
        made(self, value, adam)
        if self.unit is not None:
            self.gamma.copy_(-self.gamma - 0.1)


def less(made: Callable[..., object], self: Relaxation, C: Tensor) -> object:
    value, slope = made(self, C)  # type: ignore[misc]
    return (value if self.unit is None else value + 0.3), slope


MUTANTS: dict[str, tuple[str, Callable[..., object]]] = {
    "the sign of gamma": ("climb", other_way),
    "a bound that is too large": ("line", less),
    "the functions' sign": ("line", lambda made, self, C: made(self, C if self.unit is None else -C)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, change = MUTANTS[name]
    made = getattr(Relaxation, method)
    monkeypatch.setattr(Relaxation, method, lambda self, *args: change(made, self, *args))
    with pytest.raises(AssertionError):
        check_all()


def check_all() -> None:
    for seed in range(5):
        check_what_is_narrowed(seed)


def narrowed_to_nothing(made: Callable[..., Domains], found: Domains, *args: object, **options: object) -> Domains:
    """Every part is said to hold no counterexample."""
    return made(found, *args, **options)._replace(bound=torch.full_like(found.bound, torch.inf))


def half(made: Callable[..., Domains], found: Domains, *args: object, **options: object) -> Domains:
    """Upper bounds are the middles."""
    part = made(found, *args, **options)
    return part._replace(high={i: (h + part.low[i]) / 2 for i, h in part.high.items()})


MISUSES: dict[str, tuple[str, Callable[..., object]]] = {
    "a part with a counterexample is said to hold none": ("narrowed", narrowed_to_nothing),
    "bounds of half the points": ("narrowed", half),
}


@pytest.mark.parametrize("name", MISUSES)
def test_every_misuse_of_the_assumption_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = importlib.import_module("advkit.certification.exact")
    function, change = MISUSES[name]
    made = getattr(exact, function)
    monkeypatch.setattr(exact, function, lambda *args, **options: change(made, *args, **options))
    with pytest.raises(AssertionError):
        check_signs(monkeypatch)


def check_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (0, 5):
        check_the_sign(seed, monkeypatch)


@pytest.mark.parametrize("seed", [0, 5])
def test_a_search_that_assumes_counterexamples_says_the_sign_of_the_least_margin(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of random networks whose least margins are near 0. A part may end without a choice and yet be open."""
    exact = importlib.import_module("advkit.certification.exact")
    calls: list[bool] = []
    monkeypatch.setattr(exact, "narrowed", lambda *a, **b: calls.append(False) or narrowed(*a, **b))
    monkeypatch.setattr(exact, "has_own_bounds", lambda *a: calls.append(True) or has_own_bounds(*a))
    monkeypatch.setattr(exact, "with_bounds_of", lambda *a: checked(with_bounds_of, *a))
    check_the_sign(seed, monkeypatch)
    assert False in calls
    assert True in calls


def checked(made: Callable[..., Domains], others: Domains, found: Domains, row: Tensor) -> Domains:
    assert torch.equal(others.rival[row], found.rival), "these bounds assume a counterexample of another rival"
    return made(others, found, row)


def check_the_sign(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = importlib.import_module("advkit.certification.exact")
    net, x = network(seed)
    y = net(x).argmax(1)
    value = certify(net, x, y, eps=0.2, method="exact", tolerance=1e-7)
    least = float(value.margin[value.margin != 0].min())
    monkeypatch.setattr(exact, "SHARE", 10**9)
    for lift in (0.003, -0.003, 0.1):
        with torch.no_grad():
            net[-1].bias[y] += lift - least
        least = lift
        told = certify(net, x, y, eps=0.2, method="exact")
        assert told.exact
        assert bool(told.certified) == (lift > 0)
