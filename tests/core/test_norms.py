"""The norms, against brute force, linear programmes and slow references."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError, UnknownNameError
from advkit.core.norms import NORMS, get_norm, per_row, rounded_toward, step_toward

BALLS = ["linf", "l2", "l1"]  # convex
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def perturbations(draw: st.DrawFn) -> Tensor:
    rows, size = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    d = noise(rows, 1, size, 1, seed=draw(st.integers(0, 9999))) * draw(st.sampled_from([1e-4, 1.0, 50.0]))
    if draw(st.booleans()):
        d = d.round(decimals=1)  # ties and exact zeros
    return d


RADII = st.sampled_from([0.0, 1e-3, 0.5, 2.0, 40.0])
NAMES = st.sampled_from(sorted(NORMS))


@given(perturbations(), NAMES)
def test_size_is_numpys_norm(d: Tensor, name: str) -> None:
    order = {"linf": np.inf, "l2": 2, "l1": 1, "l0": 0, "l0_pixels": 0}[name]  # one channel
    expected = [np.linalg.norm(row.numpy().ravel(), order) for row in d]
    assert torch.allclose(get_norm(name).size(d), torch.tensor(expected, dtype=torch.float64), rtol=1e-12)


@given(perturbations(), NAMES, RADII)
def test_projection_lands_in_the_ball_and_is_idempotent(d: Tensor, name: str, eps: float) -> None:
    norm = get_norm(name)
    once = norm.project(d, eps)
    rounding = 1e-15 * float(d.abs().max()) * d[0].numel()  # of d minus the l1 threshold
    assert bool((norm.size(once) <= eps * (1 + 1e-12) + rounding).all())
    assert torch.allclose(norm.project(once, eps), once, rtol=1e-12, atol=rounding)


@given(perturbations(), NAMES)
def test_projection_leaves_what_is_in_the_ball(d: Tensor, name: str) -> None:
    norm = get_norm(name)
    eps = per_row(norm.size(d) * (1 + 1e-12), d)
    assert torch.allclose(norm.project(d, eps), d, rtol=1e-14, atol=0)


@given(perturbations(), st.sampled_from(BALLS), RADII, st.integers(0, 99))
def test_projection_onto_a_convex_ball_is_nonexpansive(d: Tensor, name: str, eps: float, seed: int) -> None:
    other = d + noise(*d.shape, seed=seed)
    norm = get_norm(name)
    apart = (norm.project(d, eps) - norm.project(other, eps)).flatten(1).norm(dim=1)
    assert bool((apart <= (d - other).flatten(1).norm(dim=1) * (1 + 1e-9) + 1e-12).all())


@given(perturbations(), st.sampled_from(BALLS), RADII, st.integers(0, 99))
def test_projection_is_the_nearest_point_of_the_ball(d: Tensor, name: str, eps: float, seed: int) -> None:
    # p is the projection onto a convex set C if and only if <d - p, c - p> <= 0 for all c in C; the worst c is known.
    norm = get_norm(name)
    p = norm.project(d, eps)
    normal = d - p
    worst = eps * norm.dual_size(normal) - (normal * p).flatten(1).sum(1)
    assert bool((worst <= 1e-9 * (1 + d.abs().max() ** 2)).all())


@given(perturbations(), st.sampled_from(BALLS), RADII, st.integers(0, 9999))
def test_the_proximal_step_is_the_best_of_its_objective(d: Tensor, name: str, t: float, seed: int) -> None:
    norm, weight = get_norm(name), torch.full((len(d), 1, 1, 1), t, dtype=torch.float64)
    found = norm.prox(d, weight)

    def objective(u: Tensor) -> Tensor:
        return t * norm.size(u) + get_norm("l2").size(u - d) ** 2 / 2

    for spread in (1e-3, 1.0):
        other = found + spread * noise(*d.shape, seed=seed)
        assert bool((objective(found) <= objective(other) * (1 + 1e-9) + 1e-12).all())
    for other in (d, 0 * d, 0.99 * found):
        assert bool((objective(found) <= objective(other) * (1 + 1e-9) + 1e-12).all())


def test_over_pixels_the_proximal_step_keeps_the_direction_of_a_pixel() -> None:
    d, t = noise(3, 2, 4, 4), torch.full((3, 1, 1, 1), 0.6, dtype=torch.float64)
    found, length = get_norm("l0_pixels").prox(d, t), torch.linalg.vector_norm(d, dim=1, keepdim=True)
    assert 0 < float((found != 0).any(1).double().mean()) < 1
    assert torch.allclose(found, d * (torch.linalg.vector_norm(found, dim=1, keepdim=True) / length))
    entries = get_norm("l0").prox(d, t)
    assert torch.allclose(entries.flatten(), get_norm("l0").prox(d.view(-1, 1), t.new_full((96, 1), 0.6)).flatten())


def test_projection_onto_l1_agrees_with_a_slow_solver() -> None:
    for seed in range(4):
        d = noise(1, 5, seed=seed)
        found = get_norm("l1").project(d, 1.0)
        goal = d.numpy().ravel()
        # d = u - v with u, v >= 0
        slow = minimize(
            lambda z, goal=goal: ((z[:5] - z[5:] - goal) ** 2).sum(),
            np.zeros(10),
            bounds=[(0, None)] * 10,
            constraints={"type": "ineq", "fun": lambda z: 1 - z.sum()},
            options={"ftol": 1e-14},
        ).x
        assert torch.allclose(found, torch.tensor(slow[:5] - slow[5:]), atol=1e-5)


def test_projection_onto_l0_keeps_the_largest_entries() -> None:
    d = torch.tensor([[3.0, -4.0, 0.0, 1.0], [0.0, 0.0, 2.0, -1.0]])
    assert get_norm("l0").project(d, 2).tolist() == [[3, -4, 0, 0], [0, 0, 2, -1]]
    assert get_norm("l0").project(d, torch.tensor([[1.9], [0.0]])).tolist() == [[0, -4, 0, 0], [0, 0, 0, 0]]


@given(perturbations(), NAMES)
def test_steepest_attains_the_dual_norm_with_size_one(g: Tensor, name: str) -> None:
    norm = get_norm(name)
    if get_norm(name).grain:  # no norm: one entry, of size 1
        g = g.sign()
    d = norm.steepest(g)
    nonzero = g.flatten(1).any(1)
    assert torch.allclose(norm.size(d)[nonzero], torch.ones(int(nonzero.sum()), dtype=torch.float64))
    assert bool((d[~nonzero] == 0).all())
    assert torch.allclose((g * d).flatten(1).sum(1), norm.dual_size(g), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_l2_direction_neither_under_nor_overflows(scale: float, dtype: torch.dtype) -> None:
    g = (noise(3, 8) * scale).to(dtype)
    assert torch.allclose(
        get_norm("l2").size(get_norm("l2").steepest(g)), torch.ones(3, dtype=torch.float64), rtol=1e-2
    )


def problem(seed: int, size: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    g, x = noise(3, size, seed=seed), noise(3, size, seed=seed + 500).sigmoid()
    g[:, 0] = 0
    x[1] = x[1].round()
    eps = torch.tensor([[0.05], [0.6], [3.0]], dtype=torch.float64)
    return g, x, eps, (x - eps).clamp(min=0), (x + eps).clamp(max=1)


def gain(g: Tensor, x: Tensor, x_adv: Tensor) -> Tensor:
    return (g * (x_adv - x)).sum(1)


@pytest.mark.parametrize("seed", range(4))
def test_maximise_solves_the_linear_programme_of_linf_and_l1(seed: int) -> None:
    g, x, eps, low, high = problem(seed)
    for name in ("linf", "l1"):
        found = get_norm(name).maximise(g, x, eps, low, high)
        assert bool((get_norm(name).size(found - x) <= eps.flatten() * (1 + 1e-12)).all())
        assert bool(((found >= low) & (found <= high)).all())
        for i in range(3):
            room = torch.cat([high[i] - x[i], x[i] - low[i]]).numpy()  # d = u - v
            total = np.ones((1, len(room))) if name == "l1" else None
            best = linprog(
                -torch.cat([g[i], -g[i]]).numpy(),
                A_ub=total,
                b_ub=None if total is None else [float(eps[i])],
                bounds=[(0, r) for r in room],
            )
            assert float(gain(g, x, found)[i]) == pytest.approx(-best.fun, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_maximise_in_l2_agrees_with_bisection_on_the_multiplier(seed: int) -> None:
    g, x, eps, low, high = problem(seed)
    found = get_norm("l2").maximise(g, x, eps, low, high)
    below, above = torch.zeros(3, 1, dtype=torch.float64), torch.full((3, 1), 1e6, dtype=torch.float64)
    for _ in range(200):
        t = (below + above) / 2
        inside = (torch.clamp(x + t * g, 0, 1) - x).norm(dim=1, keepdim=True) <= eps
        below, above = torch.where(inside, t, below), torch.where(inside, above, t)
    slow = torch.clamp(x + below * g, 0, 1)
    assert bool((get_norm("l2").size(found - x) <= eps.flatten() * (1 + 1e-9)).all())
    assert torch.allclose(gain(g, x, found), gain(g, x, slow), rtol=1e-7)


def colours(seed: int) -> tuple[Tensor, Tensor]:
    """d (3, 2, 2, 3) with ties and zeros, and x of the same shape in [0, 1]."""
    d = noise(3, 2, 2, 3, seed=seed).round(decimals=1)
    d[0, :, 0, 1] = 0
    d[1, 0] = 0
    return d, noise(3, 2, 2, 3, seed=seed + 50).sigmoid()


def over_pixels(places: Tensor, d: Tensor) -> Tensor:
    """(C, H, W) bool: all channels of these pixels."""
    return (places > 0).view(d.shape[-2:]).expand(d.shape)


def subsets(count: int, size: int = 6) -> list[Tensor]:
    return [
        torch.zeros(size).index_fill(0, torch.tensor(c, dtype=torch.long), 1) for c in combinations(range(size), count)
    ]


def test_a_pixel_counts_once_whatever_its_channels() -> None:
    d = torch.zeros(2, 3, 4, 5)
    d[0, :, 1, 2] = 1
    d[0, 2, 3, 4] = -1
    assert get_norm("l0_pixels").size(d).tolist() == [2, 0]
    assert get_norm("l0").size(d).tolist() == [4, 0]
    assert get_norm("l0_pixels").size(d.flatten(1)).tolist() == [4, 0]  # entries of a vector have no channels


@pytest.mark.parametrize("seed", range(3))
def test_over_pixels_every_best_is_the_best_of_all_subsets(seed: int) -> None:
    norm, (d, x) = get_norm("l0_pixels"), colours(seed)
    low, high, eps = torch.zeros_like(x), torch.ones_like(x), torch.tensor([0.0, 2.0, 3.0]).double().view(-1, 1, 1, 1)
    nearest, pulled, most = (
        norm.project(d, eps),
        norm.pull(x, x + 4 * d, eps, low, high),
        norm.maximise(d, x, eps, low, high),
    )
    for i in range(3):
        allowed = [over_pixels(places, d[i]) for places in subsets(int(eps[i]))]
        least = min(float(((d[i] * mask - d[i]) ** 2).sum()) for mask in allowed)
        assert float(((nearest[i] - d[i]) ** 2).sum()) == pytest.approx(least)
        boxed = (x[i] + 4 * d[i]).clamp(0, 1)
        left = min(float(((torch.where(mask, boxed, x[i]) - x[i] - 4 * d[i]) ** 2).sum()) for mask in allowed)
        assert float(((pulled[i] - x[i] - 4 * d[i]) ** 2).sum()) == pytest.approx(left)
        best = torch.maximum(d[i] * (1 - x[i]), -d[i] * x[i])
        gained = max(float((best * mask).sum()) for mask in allowed)
        assert float((d[i] * (most[i] - x[i])).sum()) == pytest.approx(gained)
    for found in (nearest, pulled - x, most - x):
        assert bool((norm.size(found) <= eps.flatten()).all())


def test_over_entries_a_pull_into_box_and_ball_is_the_best_of_all_subsets() -> None:
    x, x_adv = noise(4, 6).sigmoid(), 3 * noise(4, 6, seed=9)
    pulled = get_norm("l0").pull(x, x_adv, torch.full((4, 1), 2.0).double(), torch.zeros_like(x), torch.ones_like(x))
    for i in range(4):
        each = [torch.where(mask > 0, x_adv[i].clamp(0, 1), x[i]) for mask in subsets(2)]
        assert float((pulled[i] - x_adv[i]).norm()) == pytest.approx(min(float((z - x_adv[i]).norm()) for z in each))


@pytest.mark.parametrize("seed", range(3))
def test_over_pixels_the_way_across_and_the_dual_are_the_best_of_all_subsets(seed: int) -> None:
    norm, (g, x) = get_norm("l0_pixels"), colours(seed)
    low, high = torch.zeros_like(x), torch.ones_like(x)
    gain = torch.maximum(g * (high - x), -g * x)
    need = 0.4 * gain.flatten(1).sum(1)
    d = norm.across(g, need, x, low, high)
    assert bool(((g * d).flatten(1).sum(1) >= need - 1e-12).all())
    for i in range(3):
        enough = [
            n for n in range(7) if any((gain[i] * over_pixels(m, g[i])).sum() >= need[i] - 1e-12 for m in subsets(n))
        ]
        assert float(norm.size(d)[i]) == min(enough)
        top = max(float((g[i].abs() * over_pixels(m, g[i])).sum()) for m in subsets(1))
        assert float(norm.dual_size(g)[i]) == pytest.approx(top)
        assert float((norm.steepest(g)[i] * g[i]).sum()) == pytest.approx(top)


def test_a_bound_over_pixels_is_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match="take l0, eps \\* channels"):
        get_norm("l0_pixels").ceiling(torch.ones(1, 4), torch.ones(1, 4), torch.ones(1))


@pytest.mark.parametrize("seed", range(3))
def test_maximise_in_l0_is_the_best_of_all_subsets(seed: int) -> None:
    g, x, _, _, _ = problem(seed, size=6)
    low, high = torch.zeros_like(x), torch.ones_like(x)
    eps = torch.tensor([[0.0], [2.0], [3.0]], dtype=torch.float64)
    found = gain(g, x, get_norm("l0").maximise(g, x, eps, low, high))
    each = torch.maximum(g * (high - x), g * (low - x))
    for i in range(3):
        best = max(float(each[i, list(places)].sum()) for places in combinations(range(6), int(eps[i])))
        assert float(found[i]) == pytest.approx(best)


@given(st.integers(0, 9999), st.sampled_from(BALLS), RADII)
def test_maximise_is_no_worse_than_any_point_of_the_region(seed: int, name: str, eps: float) -> None:
    g, x = noise(2, 9, seed=seed).round(decimals=1), noise(2, 9, seed=seed + 1).sigmoid().round(decimals=1)
    norm, radius = get_norm(name), torch.full((2, 1), eps, dtype=torch.float64)
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    best = gain(g, x, norm.maximise(g, x, radius, low, high))
    for trial in range(5):
        other = (x + norm.project(noise(2, 9, seed=trial) * eps, radius)).clamp(low, high)
        assert bool((gain(g, x, other) <= best + 1e-9).all())


@given(st.integers(0, 9999), st.sampled_from(BALLS), RADII)
def test_the_ceiling_is_what_maximise_attains(seed: int, name: str, eps: float) -> None:
    g, x = noise(2, 9, seed=seed).round(decimals=1), noise(2, 9, seed=seed + 1).sigmoid().round(decimals=1)
    norm, radius = get_norm(name), torch.full((2,), eps, dtype=torch.float64)
    reach = norm.reach(radius)[:, None]
    low, high = (x - reach).clamp(min=0), (x + reach).clamp(max=1)
    best = gain(g, x, norm.maximise(g, x, radius[:, None], low, high))
    room = torch.where(g > 0, high - x, x - low)
    assert torch.allclose(norm.ceiling(g.abs(), room, radius), best, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_samples_lie_in_the_ball_and_fill_it(name: str) -> None:
    count, size = 4000, 3
    draws, like = Draws(0, torch.arange(count)), torch.zeros(count, 1, size)
    eps = 2.0
    d = get_norm(name).sample(like, eps, draws, 0)
    assert d.shape == like.shape
    sizes = get_norm(name).size(d)
    assert bool((sizes <= eps * (1 + 1e-12)).all())
    assert d.mean(0).abs().max() < 0.1
    if not get_norm(name).grain:  # uniform: the share within r is (r / eps)^3
        for share in (0.25, 0.5, 0.75):
            inside = float((sizes <= eps * share ** (1 / size)).double().mean())
            assert inside == pytest.approx(share, abs=0.04)
    other = get_norm(name).sample(like, eps, draws, 1)
    assert not torch.equal(d, other)


@pytest.mark.parametrize("name", ["linf", "l2"])
def test_far_points_lie_on_the_surface(name: str) -> None:
    draws, like = Draws(0, torch.arange(50)), torch.zeros(50, 1, 3)
    assert torch.allclose(get_norm(name).size(get_norm(name).far(like, 2.0, draws, 0)), torch.tensor(2.0).double())


@pytest.mark.parametrize("name", sorted(NORMS))
def test_starts_are_spread_over_all_radii(name: str) -> None:
    draws, like = Draws(0, torch.arange(4000)), torch.zeros(4000, 1, 40)
    sizes = get_norm(name).size(get_norm(name).start(like, 2.0, draws, 0))
    assert bool((sizes <= 2.0 * (1 + 1e-12)).all())
    if name == "linf":  # each entry is uniform in itself
        assert sizes.mean() == pytest.approx(2 * 40 / 41, abs=0.02)
    elif not get_norm(name).grain:
        for share in (0.25, 0.5, 0.75):  # radius u times a point of the ball, which lies close to its surface
            assert float((sizes <= 2.0 * share).double().mean()) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_of_one_ulp_lands_on_the_next_float(dtype: torch.dtype) -> None:
    values = torch.tensor([0.0, -0.0, 1.0, -1.0, 0.5, 0.007, -0.007, 2.0**-20], dtype=dtype)
    for goal in (torch.full_like(values, 9), torch.full_like(values, -9)):
        stepped = step_toward(values, goal)
        wide, base, aim = stepped.double(), values.double(), goal.double()
        assert bool(((wide - base) * (aim - base) > 0).all())
        middle = ((wide + base) / 2).to(dtype).double()
        assert bool(((middle == wide) | (middle == base)).all())
    assert torch.equal(step_toward(values, values), values)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_never_moves_a_point_away_from_x(dtype: torch.dtype) -> None:
    x = noise(50, 40).sigmoid().to(dtype)
    point = (x.double() + 0.1 * noise(50, 40, seed=1)).clamp(0, 1)
    rounded = rounded_toward(x, point)
    assert rounded.dtype == dtype
    assert bool(((rounded.double() - x.double()).abs() <= (point - x.double()).abs()).all())
    nearest = point.to(dtype).double()
    assert bool(((rounded.double() - point).abs() <= 2 * (nearest - point).abs() + torch.finfo(dtype).eps).all())


@given(perturbations(), NAMES, RADII)
def test_within_keeps_what_is_inside_and_lands_inside_in_float64(d: Tensor, name: str, eps: float) -> None:
    x = noise(*d.shape, seed=3).sigmoid()
    low = (x - d.abs() if name == "linf" else x).to(torch.float32)
    x32, norm = low, get_norm(name)
    radius = per_row(torch.full((len(d),), eps, dtype=torch.float64), d)
    x_adv = (x32.double() + (norm.project(d, eps) if name == "linf" else d)).float()
    inside = norm.size(x_adv.double() - x32.double()) <= eps
    landed = norm.within(x32, x_adv, radius)
    assert torch.equal(landed[inside], x_adv[inside])
    if name != "linf":
        assert bool((norm.size(landed.double() - x32.double()) <= eps * (1 + 1e-9)).all())


def in_box(seed: int, size: int = 30) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    x, x_adv = noise(4, size, seed=seed).sigmoid(), noise(4, size, seed=seed + 100)
    x[0] = x[0].round()
    eps = torch.tensor([[0.0], [0.3], [2.0], [90.0]], dtype=torch.float64)
    return x, x_adv, eps, torch.zeros_like(x), torch.ones_like(x)


@pytest.mark.parametrize("seed", range(6))
def test_the_l1_pull_is_the_nearest_point_of_ball_and_box(seed: int) -> None:
    # as above: the c that is worst for <x_adv - p, c - p> is the maximum of a linear function over ball and box
    x, x_adv, eps, low, high = in_box(seed)
    norm = get_norm("l1")
    p = norm.pull(x, x_adv, eps, low, high)
    assert bool((norm.size(p - x) <= eps.flatten() * (1 + 1e-12)).all())
    assert bool(((p >= low) & (p <= high)).all())
    normal = x_adv - p
    worst = norm.maximise(normal, x, eps, low, high)
    assert bool(((normal * (worst - p)).sum(1) <= 1e-12).all())


@pytest.mark.parametrize("share", [0.1, torch.tensor([0.05, 0.2, 0.5, 1.0])])
def test_a_sparse_ascent_moves_the_largest_slopes_that_it_may(share: float | Tensor) -> None:
    x, _, _, low, high = in_box(7)
    g = noise(4, 30, seed=9)
    g[:, 3:6] = 0
    found = get_norm("l1").ascent(g, x, low, high, share)
    for i in range(4):
        fixed = isinstance(share, float)
        free = [j for j in range(30) if not (fixed and float(x[i, j]) == float(g[i, j] > 0))]
        order = sorted((-abs(float(g[i, j])), j) for j in free if g[i, j])
        chosen = [j for _, j in order[: 3 if isinstance(share, float) else int(share[i] * 30 + 1e-6)]]
        expected = torch.zeros(30, dtype=torch.float64)
        expected[chosen] = g[i, chosen].sign() / len(chosen)
        assert torch.allclose(found[i], expected, rtol=1e-12)
    assert bool((get_norm("l1").ascent(0 * g, x, low, high, share) == 0).all())


def test_an_unknown_norm_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="unknown norm 'linfty'; did you mean 'linf'"):
        get_norm("linfty")


@pytest.mark.parametrize("name", sorted(NORMS))
def test_shrinking_leads_from_the_point_to_the_image_inside_the_box(name: str) -> None:
    norm, x = get_norm(name), noise(4, 3, 2, 2).sigmoid()
    low, high = torch.zeros_like(x), torch.ones_like(x)
    x_adv = (x + noise(4, 3, 2, 2, seed=1)).clamp(0, 1)
    at = norm.shrinking(x, x_adv, low, high)
    points = [at(x_adv, torch.full((4,), level, dtype=torch.float64)) for level in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert torch.allclose(points[0], x_adv, atol=1e-12)
    assert torch.allclose(points[-1], x, atol=1e-12)
    sizes = torch.stack([norm.size(point - x) for point in points])
    assert bool((sizes.diff(dim=0) <= 1e-12).all())
    for point in points:
        assert bool(((point >= low) & (point <= high)).all())
        assert bool(((point - x) * (x_adv - x) >= -1e-12).all())  # no entry moves past x
