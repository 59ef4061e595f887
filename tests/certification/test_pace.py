"""The time of linear bounds: said beforehand, shown on the way, and limited without a false bound."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from advkit.certification import certify, graph, pace
from advkit.core.errors import AdvkitWarning, InputError

AT_ONCE = 1e-9
"""Seconds that are over before the first unit."""


def net() -> nn.Module:
    torch.manual_seed(0)
    front = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*front, nn.Linear(54, 20), nn.ReLU(), nn.Linear(20, 5))


def images(model: nn.Module, count: int = 5) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return x, model(x).argmax(1)


def margins(model: nn.Module, method: str, **options: object) -> Tensor:
    return certify(model, *images(model), eps=0.05, method=method, **options).margin  # type: ignore[arg-type]


def test_without_time_all_units_keep_their_intervals() -> None:
    with pytest.warns(AdvkitWarning, match="time_limit of 1e-09 s"):
        found = margins(net(), "crown", time_limit=AT_ONCE)
    assert torch.allclose(found, margins(net(), "crown_ibp"))
    assert bool((found < margins(net(), "crown") - 1e-6).any())


@pytest.mark.parametrize("method", ["crown", "alpha_crown"])
def test_a_limit_that_is_not_reached_changes_nothing(method: str) -> None:
    assert torch.equal(margins(net(), method, time_limit=1000), margins(net(), method))


def test_a_limit_in_the_middle_gives_sound_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    model, clock = net(), iter(range(10**6))
    monkeypatch.setattr(pace.time, "perf_counter", lambda: float(next(clock)))
    with pytest.warns(AdvkitWarning, match="reached"):
        found = certify(model, *images(model, 2), eps=0.05, method="alpha_crown", time_limit=3)
    monkeypatch.undo()
    x, y = images(model, 2)
    low, high = margins(model, "crown_ibp")[:2], margins(model, "alpha_crown")[:2]
    assert bool(((found.margin >= low - 1e-9) & (found.margin <= high + 1e-9)).all())
    points = (x + 0.05 * torch.empty(300, *x.shape).uniform_(-1, 1).sign()).clamp(0, 1)
    logits = model(points.flatten(0, 1)).view(300, 2, 5)
    seen = logits.gather(2, y.expand(300, 2)[..., None]) - logits
    assert bool((seen.amin(0) >= found.margin - 1e-6).all())


def test_the_limit_of_an_exact_search_counts_the_bounds_inside() -> None:
    model = net()
    found = certify(model, *images(model), eps=0.05, method="exact", time_limit=AT_ONCE)
    assert bool(found.undecided.any())
    assert not bool(found.certified[found.undecided].any())
    assert torch.allclose(found.margin[found.undecided], margins(model, "crown_ibp")[found.undecided])


@pytest.mark.parametrize("method", ["crown", "alpha_crown", "crown_ibp"])
def test_long_work_is_said_beforehand_with_what_is_cheaper(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LONG", 0.0)
    monkeypatch.setattr(pace, "SURE", 0.0)
    cheaper = "ibp" if method == "crown_ibp" else "crown_ibp"
    with pytest.warns(AdvkitWarning, match=f"may take about a minute .* method='{cheaper}'") as said:
        margins(net(), method)
    assert len(said) == 1


def test_a_limit_takes_the_place_of_the_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LONG", 0.0)
    monkeypatch.setattr(pace, "SURE", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        margins(net(), "crown", time_limit=1000)


@pytest.mark.parametrize("method", ["crown_ibp", "crown", "alpha_crown", "exact"])
def test_progress_grows_and_stays_within_all(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "UNIT", 1.0)
    model, seen = net(), []
    certify(model, *images(model, 40), eps=0.05, method=method, progress=lambda *n: seen.append(n))
    assert len(seen) >= 3
    done = [d for d, _ in seen]
    assert done == sorted(done)
    assert all(d <= whole for d, whole in seen)


def test_the_work_of_crown_is_about_what_was_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "UNIT", 1.0)
    model, seen = net(), []
    certify(model, *images(model), eps=0.05, method="crown", progress=lambda *n: seen.append(n))
    done, whole = seen[-1]
    assert 0.3 * whole < done


def test_a_large_network_is_bounded_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    before = {method: margins(model, method) for method in ("ibp", "crown", "alpha_crown")}
    exact = certify(model, *images(model), eps=0.02, method="exact", nodes=300)
    monkeypatch.setattr(graph, "ENTRIES", 1)
    for method, found in before.items():
        assert torch.allclose(margins(model, method), found, atol=1e-5)
    again = certify(model, *images(model), eps=0.02, method="exact", nodes=300)
    assert torch.equal(again.certified & exact.broken, torch.zeros_like(exact.broken))
    assert torch.equal(exact.certified & again.broken, torch.zeros_like(exact.broken))


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        ("ibp", {"time_limit": 1}, "crown, alpha_crown, exact"),
        ("crown", {"nodes": 3}, "method='exact'"),
        ("crown", {"time_limit": 0}, "number > 0"),
        ("crown", {"time_limit": float("nan")}, "number > 0"),
    ],
)
def test_a_limit_of_another_method_is_refused(method: str, options: dict[str, float], says: str) -> None:
    model = net()
    with pytest.raises(InputError, match=says):
        certify(model, *images(model), eps=0.1, method=method, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("progress", [3, "yes", [print]])
def test_a_progress_that_cannot_be_called_is_refused(progress: object) -> None:
    with pytest.raises(InputError, match=r"expected progress as True, or a function that is called with \(done, all\)"):
        certify(nn.Linear(4, 2), torch.rand(2, 4), torch.zeros(2, dtype=torch.int64), eps=0.1, progress=progress)  # type: ignore[arg-type]
