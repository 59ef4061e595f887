"""QuadraticClassifier.nearest against a search, against itself, and against attacks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from advkit.attacks import LBFGS, PGD
from advkit.core.errors import InputError, UnknownNameError
from advkit.core.norms import get_norm
from advkit.testing import QuadraticClassifier
from advkit.testing.strategies import images, quadratic_classifiers

NORMS = ("linf", "l2", "l1")
SHAPE = (1, 2, 2)


def case(seed: int, count: int = 40) -> tuple[QuadraticClassifier, Tensor, Tensor]:
    """Images near grey for l2 and l1, so that the range cuts nothing off; both classes occur."""
    model = QuadraticClassifier.random(SHAPE, seed=seed)
    source = torch.Generator().manual_seed(seed)
    x = 0.5 + 0.7 * (torch.rand(count, *SHAPE, generator=source, dtype=torch.float64) - 0.5)
    return model, x, model(x).argmax(1).detach()


@pytest.mark.parametrize("norm", NORMS)
@given(model=quadratic_classifiers((1, 2, 2)), x=images((1, 2, 2), dtype=torch.float64), label=st.integers(0, 1))
def test_the_point_lies_on_the_boundary_at_its_distance(
    norm: str, model: QuadraticClassifier, x: Tensor, label: int
) -> None:
    y = torch.full((len(x),), label)
    distance, point = model.nearest(x, y, norm, bounds=None)
    assert torch.allclose(get_norm(norm).size(point - x), distance, atol=1e-9)
    logits = model(point)
    assert torch.allclose(logits[distance > 0, 0], logits[distance > 0, 1], atol=1e-9)
    there = model(x).argmax(1) != y
    assert bool((distance[there] == 0).all())


@pytest.mark.parametrize("norm", NORMS)
def test_no_search_finds_a_nearer_point(norm: str) -> None:
    model, x, y = case(3, 24)
    assert set(y.tolist()) == {0, 1}
    distance, _ = model.nearest(x, y, norm, bounds=None)
    source = torch.Generator().manual_seed(0)
    for i in range(len(x)):
        way = torch.randn(4000, 4, generator=source, dtype=torch.float64)
        way[:2000] *= torch.rand(2000, 4, generator=source, dtype=torch.float64) < 0.4  # sparse ones
        way[:1000] = way[:1000].sign()
        way = way[way.abs().sum(1) > 0]
        way /= get_norm(norm).size(way)[:, None]
        nearer = x[i].flatten() + 0.999 * distance[i] * way
        assert not bool((model(nearer).argmax(1) != y[i]).any()), i


@pytest.mark.parametrize("seed", range(3))
def test_l2_agrees_with_scipy(seed: int) -> None:
    model, x, y = case(seed, 8)
    distance, point = model.nearest(x, y, "l2", bounds=None)
    for i in range(len(x)):
        clean = x[i].flatten().numpy()

        def excess(z, model=model):
            return float(model._excess(torch.from_numpy(z)[None]).detach())

        best = min(
            minimize(
                lambda z, clean=clean: ((z - clean) ** 2).sum(),
                start,
                constraints={"type": "eq", "fun": excess},
                method="SLSQP",
                options={"ftol": 1e-14},
            ).fun
            for start in (clean + 0.1, clean - 0.1, point[i].flatten().numpy() + 0.01)
        )
        assert float(distance[i]) == pytest.approx(best**0.5, rel=1e-4)


def test_linf_within_the_range_is_a_reach_of_corners() -> None:
    model, x, y = case(1)
    x = torch.cat([x, torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE), torch.full((1, *SHAPE), 0.97)])
    y = model(x).argmax(1)
    inside = torch.zeros_like(y)  # every image as one of class 0
    distance, point = model.nearest(x, inside, "linf")
    assert bool(((point >= -1e-12) & (point <= 1 + 1e-12)).all())
    moved = distance > 0
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)
    for factor, reached in ((0.999, False), (1.001, True)):
        ball = (x.flatten(1)[:, None] + factor * distance[:, None, None] * corners).clamp(0, 1)
        most = model._excess(ball.flatten(0, 1)).view(len(x), -1).amax(1)
        assert bool(((most > 0) == reached)[moved].all())


def test_a_pixel_at_its_bound_crosses_to_the_other_side_of_the_centre() -> None:
    model = QuadraticClassifier(torch.tensor([0.6], dtype=torch.float64), torch.ones(1, dtype=torch.float64), 0.25)
    x = torch.tensor([[1.0]], dtype=torch.float64)  # .4 from the centre; the boundary is .5 away, at .1
    distance, point = model.nearest(x, torch.tensor([0]), "linf")
    assert float(distance) == pytest.approx(0.9)
    assert float(point) == pytest.approx(0.1)
    far = QuadraticClassifier(model.centre, model.curvature, 0.5)  # the boundary is outside the range on both sides
    assert far.nearest(x, torch.tensor([0]), "linf")[0].tolist() == [torch.inf]


@pytest.mark.parametrize("norm", NORMS)
def test_from_the_centre_the_way_out_is_along_the_axes(norm: str) -> None:
    curvature = torch.tensor([0.5, 2.0, 1.0, 2.0], dtype=torch.float64)
    model = QuadraticClassifier(torch.full((4,), 0.5, dtype=torch.float64), curvature, 0.09)
    distance, point = model.nearest(model.centre.detach().view(1, 4), torch.tensor([0]), norm)
    expected = (0.09 / (curvature.sum() if norm == "linf" else curvature.max())) ** 0.5
    assert float(distance) == pytest.approx(float(expected))
    assert float(model._excess(point).detach()) == pytest.approx(0, abs=1e-9)


def test_what_is_not_known_is_refused() -> None:
    model = QuadraticClassifier.random(SHAPE)
    x, y = torch.full((1, *SHAPE), 0.9, dtype=torch.float64), torch.tensor([0])
    flat = QuadraticClassifier(model.centre, model.curvature, 1e3)
    with pytest.raises(InputError, match="lower bound of the distance"):
        flat.nearest(x, y, "l2")
    with pytest.raises(UnknownNameError, match="linf"):
        model.nearest(x, y, "l0")
    with pytest.raises(InputError, match="centre within the bounds"):
        model.nearest(x, y, "l2", bounds=(0.9, 1))
    with pytest.raises(InputError, match="curvature"):
        QuadraticClassifier(model.centre, -model.curvature, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_attacks_find_the_curved_boundary_and_nothing_nearer(seed: int) -> None:
    model, x, y = case(seed)
    nearest, _ = model.nearest(x, y, "l2", bounds=None)
    found = LBFGS(target="untargeted")(model, x, y)
    assert bool((found.distance >= nearest * (1 - 1e-9)).all())
    assert float((found.distance / nearest).median()) < 1.1
    x = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = model(x).argmax(1)
    nearest, _ = model.nearest(x, y, "linf")
    assert not bool(PGD(steps=20)(model, x, y, eps=nearest * 0.999).success.any())
    fallen = PGD(steps=20)(model, x, y, eps=nearest * 1.1).success
    assert bool(fallen[y == 1].all())  # into the ellipsoid: a convex problem
    assert float(fallen[y == 0].double().mean()) > 0.6  # out of it: a corner of the box may be a local optimum
