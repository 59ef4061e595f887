"""Branch and bound on networks of every layer kind, against a program that does not know the certifier's graph."""

import importlib
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.least_margins import UnsolvedError, least_margins
from helpers.odd_networks import FLAT, IMAGE, K, network_of
from torch import Tensor, nn

from advkit.certification import certify
from advkit.certification.certificate import Certificate
from advkit.certification.relu_and_pooling import Maximum
from advkit.certification.windows import Windows

exact = importlib.import_module("advkit.certification.exact")
NODES, FOREVER = 3000, 1e9  # no answer depends on the load of the machine


def found_by(
    net: nn.Module, x: Tensor, y: Tensor, eps: float, norm: str, tolerance: float | None
) -> tuple[Certificate, bool]:
    """The certificate, and whether the search ended before its limit of parts."""
    parts = [0]
    with pytest.MonkeyPatch.context() as patch:
        run = exact.BranchAndBound.run
        patch.setattr(exact.BranchAndBound, "run", lambda self: (run(self), parts.append(int(self.count.max())))[0])
        found = certify(
            net, x, y, eps=eps, norm=norm, method="exact", tolerance=tolerance, nodes=NODES, time_limit=FOREVER
        )
    return found, max(parts) < NODES


def check(net: nn.Module, x: Tensor, eps: float, *, norm: str = "linf", dtype: torch.dtype = torch.float64) -> int:
    """Compare with the program, with and without a tolerance; return how many images were decided."""
    net, x = net.to(dtype).requires_grad_(False), x.to(dtype)
    y = net(x).argmax(1)
    exactly = net.double()
    least = np.stack([least_margins(exactly, x[i : i + 1].double(), eps, int(y[i]), norm) for i in range(len(x))])
    net = net.to(dtype)
    slack = (1e-6 if dtype == torch.float64 else 3e-4) * max(1.0, float(np.abs(least).max()), float(net(x).abs().max()))
    rivals = ~torch.nn.functional.one_hot(y, K).bool().numpy()
    decided = 0
    for tolerance in (slack / 100, None):
        found, ended = found_by(net, x, y, eps, norm, tolerance)
        margin = found.margin.numpy()
        assert (margin <= least + slack)[rivals & (margin != exact.LEAST)].all()
        for i in range(len(x)):
            lowest = least[i][rivals[i]].min()
            assert not (bool(found.certified[i]) and lowest < -slack)
            if bool(found.broken[i]):
                assert lowest <= slack
                assert int(net(found.x_adv[i : i + 1]).argmax(1)) != int(y[i])
            if norm != "linf" or not ended:
                continue  # leaves are linear programs in linf alone
            decided += 1
            if tolerance is not None:
                np.testing.assert_allclose(margin[i][rivals[i]], least[i][rivals[i]], atol=3 * slack)
            elif abs(lowest) > slack:
                assert not bool(found.undecided[i])
    return decided


@pytest.mark.parametrize("kind", [*IMAGE, *FLAT])
def test_the_least_margin_of_every_layer_kind_is_that_of_the_program(kind: str) -> None:
    flat = kind in FLAT
    kinds = [kind] if flat else [kind, "pairs" if "pooling" in kind else "linear"]
    shape = (1, 2, 2) if flat else (1, 3, 3)
    net = network_of(kinds, shape, seed=1)
    x = torch.rand(2, *shape, dtype=torch.float64)
    assert check(net, x, 0.1) == 4


def no_constraint_of_zero(made: Callable[..., Tensor], self: Maximum, splits: Tensor) -> Tensor:
    return made(self, splits) & (splits > 0).any(1, keepdim=True)


MUTANTS: dict[str, tuple[str, Callable[..., object]]] = {
    "no maximum is named": ("settled", lambda made, self, low, high, splits: splits),
    "an open maximum is named": ("settled", lambda made, self, low, high, splits: made(self, high, high, splits)),
    "no height where an entry is certain below another": (
        "height", lambda made, self, *args: ((found := made(self, *args))[0] * 0, found[1]),
    ),
    "no constraint where 0 is the maximum": ("counting", no_constraint_of_zero),
    "no constraints": ("counting", lambda made, self, splits: made(self, splits) & False),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, change = MUTANTS[name]
    made = getattr(Maximum, method)
    monkeypatch.setattr(Maximum, method, lambda self, *args: change(made, self, *args))
    with pytest.raises((AssertionError, RuntimeError, IndexError)):
        check_maxima()


def check_named(rectified: bool) -> None:
    """Where the excluded entries do not exceed the others, a maximum that is named is the maximum."""
    index = torch.arange(60).view(3, 20)
    op = Maximum(windows=Windows(shape=(20,), index=index), rectified=rectified)
    draws = torch.Generator().manual_seed(0)
    low = torch.rand(50, 60, generator=draws, dtype=torch.float64) - 0.7
    high = low + torch.rand(50, 60, generator=draws, dtype=torch.float64)
    splits = -(torch.rand(50, 3, 20, generator=draws) < 0.4).to(torch.int8)
    splits[(splits < 0).all(1)[:, None].expand_as(splits)] = 0
    named = op.settled(low, high, splits)
    assert (named[splits < 0] == -1).all()
    chosen, is_zero = named > 0, (named < 0).all(1)
    assert chosen.any()
    assert bool(is_zero.any()) == rectified
    assert not named[(splits == 0).all(1)[:, None].expand_as(splits)].any()
    for _ in range(20):
        z = op.windows.taps(low + (high - low) * torch.rand(low.shape, generator=draws, dtype=torch.float64))
        kept = torch.where(splits < 0, -torch.inf, z)
        top = kept.amax(1).clamp(min=0 if rectified else -torch.inf)
        assert torch.equal(kept[chosen], top[:, None].expand_as(kept)[chosen])
        assert not top[is_zero].any()


@pytest.mark.parametrize("rectified", [False, True])
def test_a_named_maximum_is_the_maximum(rectified: bool) -> None:
    check_named(rectified)


def check_maxima() -> None:
    check_named(True)
    for kind, eps in (("triples", 0.1), ("triples", 0.3), ("rectified triples", 0.3), ("linear", 0.3)):
        net = network_of([kind], (1, 2, 2), seed=1)
        assert check(net, torch.rand(2, 1, 2, 2, dtype=torch.float64), eps) == 4


def test_what_is_not_planted_passes() -> None:
    check_maxima()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_least_margins_of_hundreds_of_odd_networks(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    r = random.Random(seed)
    shape = r.choice([(1, 3, 3), (2, 3, 3), (1, 4, 4)])
    kinds = r.sample([*IMAGE], r.choice([0, 1, 1])) + r.sample([*FLAT], r.choice([0, 1, 2]))
    net = network_of(kinds, shape, seed, hard=True)
    x = torch.rand(r.choice([1, 3]), *shape, dtype=torch.float64)
    x = x.round() if r.random() < 0.3 else x
    monkeypatch.setattr(exact, "SHARE", r.choice([4, 10**9, 10**9]))
    monkeypatch.setattr(exact, "AGE", r.choice([3, 1]))
    monkeypatch.setattr(exact, "FAR", r.choice([1 / 16, 1e9]))
    norm = r.choice(["linf", "linf", "linf", "l1", "l0"])
    eps = r.choice([1.0, 2.0]) if norm == "l0" else r.choice([0.0, 0.01, 0.1, 0.3, 0.7])
    try:
        check(net, x, eps, norm=norm, dtype=r.choice([torch.float64, torch.float64, torch.float32]))
    except UnsolvedError as error:
        pytest.skip(f"no answer to compare with: {error}")
