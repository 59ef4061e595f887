"""The feasible set is exact: linf to the last bit in every type, the others to the rounding of float64."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advkit import evaluate
from advkit.attacks import FGSM, PGD, create_attack, list_attacks
from advkit.core.draws import Draws
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.norms import get_norm, step_toward
from advkit.core.threat import Threat
from advkit.testing import AffineClassifier, assert_in_threat
from advkit.testing.strategies import images, threats

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
ALL = st.sampled_from(DTYPES)


def uniform(count: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.rand(4, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("eps", [0.007, 1 / 255, 8 / 255, 0.1, 0.25, 0.3])
def test_the_linf_box_is_the_largest_within_eps(dtype: torch.dtype, eps: float) -> None:
    x = uniform(2000, dtype)
    region = Threat("linf", eps).around(x)
    for bound, far, edge in ((region.low, -9.0, 0.0), (region.high, 9.0, 1.0)):
        assert bound.dtype == dtype
        assert bool(((bound.double() - x.double()).abs() <= eps).all())
        outward = step_toward(bound, torch.full_like(bound, far))
        beyond = (outward.double() - x.double()).abs() > eps
        slack = eps * 2.0**-52 if dtype == torch.float64 else 0.0  # one float64 ulp may be given away: sums round
        nearly = (outward.double() - x.double()).abs() > eps - slack - 2.0**-52
        assert bool((beyond | (bound == edge) | (nearly if slack else beyond)).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_box_holds_x_and_stays_in_the_bounds(dtype: torch.dtype) -> None:
    x = uniform(500, dtype).round(decimals=1) if dtype == torch.float64 else uniform(500, dtype)
    for bounds in ((0.0, 1.0), (-1.0, 2.0)):
        region = Threat("linf", 0.3, bounds).around(x)
        assert bool(((region.low <= x) & (x <= region.high)).all())
        assert bool(((region.low >= bounds[0]) & (region.high <= bounds[1])).all())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_point_is_held_up_to_a_millionth_of_eps_and_no_further(norm: str) -> None:
    x = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    region, even = Threat(norm, 0.25).around(x), 0.25 / get_norm(norm).size(torch.ones_like(x))
    for excess, held in ((-1e-3, True), (-1e-9, True), (1e-5, False), (1e-2, False)):  # spread, or the box tells
        assert region.holds(x + even * (1 + excess)).tolist() == [held]
    wide = Threat(norm, 20.0).around(x)
    assert wide.holds(x + 0.5).tolist() == [True]
    assert wide.holds(x + 0.51).tolist() == [False]  # out of the range


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_far_point_lies_on_the_surface_where_the_range_allows_it(norm: str) -> None:
    x = torch.zeros(50, 1, 4, 4, dtype=torch.float64)
    region = Threat(norm, 5.4, (-9.0, 9.0)).around(x)  # draws are in units of the range
    far, other = (region.far(Draws(0, torch.arange(50)), step) for step in (0, 1))
    assert torch.allclose(region.distance(far), torch.full((50,), 5.4, dtype=torch.float64))
    assert not torch.equal(far, other)
    assert len(far.flatten(1).unique(dim=0)) > 40  # in l1 one entry may take all


@given(st.data(), threats(), ALL)
def test_samples_maxima_and_settled_points_are_feasible(
    data: st.DataObject, threat: Threat, dtype: torch.dtype
) -> None:
    x = data.draw(images((1, 3, 3), bounds=threat.bounds, dtype=dtype))
    region = threat.around(x)
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99)))).to(dtype)
    for point in (
        region.maximise(gradient),
        region.start(Draws(0, torch.arange(len(x))), 0),
        region.settle(region.project(x + gradient * 3)),
    ):
        assert point.dtype == dtype
        assert_in_threat(x, point, threat)


@given(st.data(), threats(), ALL)
def test_settling_is_idempotent_and_keeps_feasible_points(
    data: st.DataObject, threat: Threat, dtype: torch.dtype
) -> None:
    x = data.draw(images((1, 3, 3), bounds=threat.bounds, dtype=dtype))
    region = threat.around(x)
    assert torch.equal(region.settle(x), x)
    once = region.settle(region.start(Draws(1, torch.arange(len(x))), 0))
    assert torch.equal(region.settle(once), once)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_radius_zero_leaves_one_point(norm: str) -> None:
    x = uniform(30, torch.float32)
    region = Threat(norm, 0.0).around(x)
    assert torch.equal(region.maximise(torch.ones_like(x)), x)
    assert torch.equal(region.start(Draws(0, torch.arange(4)), 0), x)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_without_a_radius_only_the_range_limits(norm: str) -> None:
    x = uniform(30, torch.float32)
    gradient = torch.ones_like(x)
    assert torch.equal(Threat(norm).around(x).maximise(gradient), torch.ones_like(x))


def test_one_radius_a_sample() -> None:
    x = torch.full((3, 1, 2, 2), 0.5)
    region = Threat("linf", torch.tensor([0.0, 0.25, 9.0])).around(x)
    assert region.high[:, 0, 0, 0].tolist() == [0.5, 0.75, 1.0]


def test_a_sample_of_eps_0_is_no_sample_whose_eps_is_lost() -> None:
    net, x = AffineClassifier.random(), torch.full((2, 1, 4, 4), 0.7)
    y = net(x).argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdvkitWarning)
        FGSM()(net, x, y, eps=torch.tensor([0.0, 0.1]))
    with pytest.warns(AdvkitWarning, match="for 1 of 2 samples"):
        FGSM()(net, x, y, eps=torch.tensor([1e-10, 0.1]))


@pytest.mark.parametrize("attack", [FGSM(eps=1e-10), PGD(eps=1e-10, steps=2)])
def test_an_eps_below_the_resolution_of_the_images_warns(attack: FGSM | PGD) -> None:
    model, x = AffineClassifier.random(), torch.full((2, 1, 4, 4), 0.7)
    with pytest.warns(AdvkitWarning, match="below the resolution"):
        result = attack(model, x, model(x).argmax(1))
    assert torch.equal(result.x_adv, x)


FEW: dict[str, dict[str, int]] = {"one_pixel": {"population": 4, "generations": 2}, "sparse_rs": {"queries": 10}}
"""Options of attacks that take thousands of queries, also where nothing may change."""

COUNTING = [
    (name, norm)
    for name in list_attacks()
    for norm in ("l0", "l0_pixels")
    if create_attack(name).kind == "budget" and norm in create_attack(name).norms
]


@pytest.mark.parametrize(("name", "norm"), COUNTING)
def test_an_eps_at_which_nothing_may_change_is_refused_wherever_it_is_given(name: str, norm: str) -> None:
    model, x = AffineClassifier.random(), torch.full((2, 1, 4, 4), 0.7)
    y, words = model(x).argmax(1), f"{name} counts what changes .{norm}.*eps as 0 or a number >= 1"
    with pytest.raises(InputError, match=words):
        create_attack(name, norm=norm, eps=0.5)
    few = FEW.get(name, {})
    for attack in (create_attack(name, norm=norm, **few), create_attack(name, norm=norm, restarts=2, **few)):
        for eps in (0.1, 1 - 1e-9, torch.tensor([3.0, 0.5])):
            with pytest.raises(InputError, match=words):
                attack(model, x, y, eps=eps)
    assert torch.equal(create_attack(name, norm=norm, eps=0.0, **few)(model, x, y).x_adv, x)


def test_the_eps_of_a_command_is_none_for_attacks_that_count() -> None:
    model, x = AffineClassifier.random(), torch.full((2, 1, 4, 4), 0.7)
    with pytest.raises(InputError, match=r"sparse_rs counts what changes .*got 0\.1"):
        evaluate(model, (x, model(x).argmax(1)), ["fgsm", "sparse_rs(queries=20)"], eps=0.1)


def test_assert_in_threat_takes_tensors_only() -> None:
    with pytest.raises(InputError, match="expected images as two tensors, got Tensor and list"):
        assert_in_threat(torch.zeros(1, 2), [1], Threat("linf", 0.1))  # type: ignore[arg-type]


def test_assert_in_threat_names_the_worst_sample() -> None:
    x = torch.full((3, 1, 2, 2), 0.5, dtype=torch.float64)
    x_adv = x.clone()
    x_adv[1] += 0.25
    assert_in_threat(x, x_adv, Threat("linf", 0.25))
    with pytest.raises(AssertionError, match=r"sample 1 is at linf distance 0\.25, eps is 0\.2"):
        assert_in_threat(x, x_adv, Threat("linf", 0.2))
    with pytest.raises(AssertionError, match="sample 1 leaves the bounds"):
        assert_in_threat(x, x_adv, Threat("linf", 1.0, (0.0, 0.7)))


def test_free_leaves_out_what_the_range_holds_back() -> None:
    region = Threat("l2").around(torch.tensor([[0.0, 0.0, 0.5, 1.0, 1.0]]))
    direction = torch.tensor([[-1.0, 2.0, -3.0, 4.0, -5.0]])
    expected = torch.tensor([[0.0, 2.0, -3.0, 0.0, -5.0]])
    assert torch.equal(region.free(region.x, direction), expected)
    several = region.free(region.x, torch.stack([direction, -direction], 1))
    assert torch.equal(several, torch.stack([expected, torch.tensor([[1.0, 0.0, 3.0, -4.0, 0.0]])], 1))
    assert torch.equal(region.free(region.x * 0 + 0.5, direction), direction)


@pytest.mark.parametrize(("norm", "size"), [("linf", 2.0), ("l2", 6.0), ("l1", 18.0), ("l0", 9.0)])
def test_the_corners_of_the_range_are_widest_apart(norm: str, size: float) -> None:
    region = Threat(norm, bounds=(-1.0, 1.0)).around(torch.zeros(2, 3, 3))
    assert region.widest().tolist() == [size, size]
