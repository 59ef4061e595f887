"""Brendel and Bethge: each step against a slow solver, the walk against the nearest points of affine classifiers."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from advkit.attacks import BrendelBethge, create_attack
from advkit.attacks.brendel_bethge.trust_region import Plane, nearest_within
from advkit.core.errors import InputError
from advkit.core.norms import get_norm
from advkit.core.threat import Region, Threat
from advkit.testing import AffineClassifier

SIZE = 6


def problem(seed: int, norm: str) -> tuple[Region, Tensor, Plane, Tensor]:
    """Eight problems: images, points far from them near a plane, and a radius that forbids to go all the way."""
    source = torch.Generator().manual_seed(seed)
    x, x_adv = torch.rand(2, 8, 1, 1, SIZE, generator=source, dtype=torch.float64)
    b = torch.randn(8, 1, 1, SIZE, generator=source, dtype=torch.float64)
    b = get_norm("l2").steepest(b)
    c = 0.05 * torch.randn(8, generator=source, dtype=torch.float64)
    return Threat(norm).around(x), x_adv, Plane(b, c), torch.full((8,), 0.3, dtype=torch.float64)


def slow(norm: str, x: np.ndarray, x_adv: np.ndarray, b: np.ndarray, c: float, r: float) -> float:
    """The least size, by sequential programming over z and a bound t of each entry, or of all of them."""
    count = SIZE if norm == "l1" else 1
    constraints = [
        {"type": "eq", "fun": lambda v: b @ (v[:SIZE] - x_adv) - c},
        {"type": "ineq", "fun": lambda v: r**2 - ((v[:SIZE] - x_adv) ** 2).sum()},
    ]
    if norm != "l2":
        constraints += [
            {"type": "ineq", "fun": lambda v, sign=sign: v[SIZE:] - sign * (v[:SIZE] - x)} for sign in (1, -1)
        ]
    goal = (lambda v: ((v[:SIZE] - x) ** 2).sum()) if norm == "l2" else (lambda v: v[SIZE:].sum())
    start = np.concatenate([x_adv + c * b, np.full(count, 1.0)])
    bounds = [(0, 1)] * SIZE + [(0, 2)] * count
    found = minimize(goal, start, bounds=bounds, constraints=constraints, method="SLSQP", options={"maxiter": 500})
    assert found.success
    return float(np.linalg.norm(found.x[:SIZE] - x, {"l1": 1, "l2": 2, "linf": np.inf}[norm]))


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_a_step_is_the_optimum_of_its_problem(norm: str) -> None:
    region, x_adv, plane, r = problem(0, norm)
    point = nearest_within(region, x_adv, plane, r)
    delta = (point - x_adv).flatten(1)
    assert (delta.norm(dim=1) <= r * (1 + 1e-9)).all()
    assert (plane.beyond(point - x_adv) >= -0.11 * plane.c.abs() - 1e-5).all()
    assert ((point >= 0) & (point <= 1)).all()
    reached, before = region.distance(point), region.distance(x_adv)
    for i in range(len(x_adv)):
        rows = [t[i].flatten().numpy() for t in (region.x, x_adv, plane.b)]
        least = slow(norm, *rows, float(plane.c[i]), 0.3)
        assert reached[i] - least <= 0.05 * (before[i] - least) + 1e-3, (i, float(reached[i]), least)


def fewest(x: np.ndarray, x_adv: np.ndarray, b: np.ndarray, c: float, r: float) -> int:
    """The least number of entries that stay changed: the others return to x, these go along b as far as they may."""
    for count in range(SIZE + 1):
        for kept in combinations(range(SIZE), count):
            rest = np.array([i not in kept for i in range(SIZE)])
            fixed = np.where(rest, x - x_adv, 0.0)
            if (fixed**2).sum() > r**2:
                continue
            free = np.where(rest, 0.0, b)
            for s in np.linspace(-3, 3, 601):
                moved = np.clip(x_adv + s * free, 0, 1) - x_adv
                step = np.where(rest, fixed, moved)
                if abs(b @ step - c) < 0.1 * abs(c) + 5e-3 and (step**2).sum() <= r**2:
                    return count
    return SIZE


def test_a_step_in_l0_leaves_few_entries_changed() -> None:
    region, x_adv, plane, r = problem(0, "l0")
    point = nearest_within(region, x_adv, plane, r)
    assert ((point - x_adv).flatten(1).norm(dim=1) <= r * (1 + 1e-9)).all()
    left = region.distance(point)
    for i in range(len(x_adv)):
        rows = [t[i].flatten().numpy() for t in (region.x, x_adv, plane.b)]
        assert left[i] <= fewest(*rows, float(plane.c[i]), 0.3) + 1


def test_a_plane_beyond_the_radius_is_approached() -> None:
    region, x_adv, plane, r = problem(1, "l2")
    far = plane._replace(c=torch.full_like(plane.c, 5.0))
    delta = nearest_within(region, x_adv, far, 0.1 * r) - x_adv
    assert (delta.flatten(1).norm(dim=1) <= 0.1 * r * (1 + 1e-9)).all()
    assert ((far.b * delta).flatten(1).sum(1) > 0).all()


@pytest.mark.parametrize(("norm", "classes"), [*((norm, 2) for norm in BrendelBethge.norms), ("l1", 4)])
def test_the_walk_ends_at_the_nearest_point_of_an_affine_classifier(norm: str, classes: int) -> None:
    model = AffineClassifier.random((2, 4, 4), classes, seed=3)
    x = torch.rand(8, 2, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = model(x).argmax(1)
    nearest, _ = model.nearest(x, y, norm)
    found = BrendelBethge(norm=norm, steps=30)(model, x, y)
    assert found.success.all()
    assert (found.distance >= nearest * (1 - 1e-9)).all()
    near = found.distance <= 1.02 * nearest + get_norm(norm).grain
    assert near.double().mean() >= (1.0 if classes == 2 else 0.75), found.distance / nearest  # it walks along one class


def test_queries_and_gradients_are_as_documented() -> None:
    model = AffineClassifier.random((1, 4, 4), 3, seed=1)
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = BrendelBethge(steps=12, tries=3, search=5)(model, x, model(x).argmax(1))
    assert (found.gradients == 12).all()
    assert (found.queries <= 1 + 3 + 5 + 12 + 2).all()


def test_a_target_is_reached_from_an_image_of_that_class() -> None:
    model = AffineClassifier.random((1, 4, 4), 8, seed=2)
    x = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = model(x).argmax(1)
    target = y[0].expand(5)
    aimed = x[y != y[0]][:5]
    found = BrendelBethge(starts=x[:1])(model, aimed, model(aimed).argmax(1), target=target)
    assert found.success.all()
    assert (model(found.x_adv).argmax(1) == target).all()
    assert (found.distance < get_norm("l2").size(aimed - x[:1])).all()


def test_wrong_options_are_refused() -> None:
    for spec in ("brendel_bethge(radius=0)", "brendel_bethge(momentum=1)", "brendel_bethge(steps=0)"):
        with pytest.raises(InputError):
            create_attack(spec)
