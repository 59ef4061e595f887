"""Thresholds within a row, against sorting and against slow references."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from advkit.core.thresholds import (
    flags,
    halved,
    kth_largest,
    largest,
    newton,
    soft_threshold,
    soft_threshold_within,
    two_thirds_threshold,
)

Problem = tuple[Tensor, Tensor, Tensor]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Entries (N, D), what may be left of each, and the radii (N, 1): inside, on and outside the ball."""
    rows, size = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    d = torch.randn(rows, size, generator=generator, dtype=torch.float64) ** draw(st.sampled_from([1, 3]))
    room = draw(st.sampled_from([0.1, 1.0, 5.0])) * torch.rand(d.shape, generator=generator, dtype=torch.float64)
    if draw(st.booleans()):
        d, room = d.round(decimals=1), room.round(decimals=1)  # ties and zeros
    most = torch.minimum(d.abs(), room)
    return d, most, draw(st.sampled_from([0.0, 0.01, 0.5, 1.0, 1.5])) * most.sum(1, keepdim=True)


def left(d: Tensor, most: Tensor, theta: Tensor) -> Tensor:
    return torch.minimum((d.abs() - theta).clamp(min=0), most)


def bisected(d: Tensor, most: Tensor, radius: Tensor) -> Tensor:
    """What is left of |d|, by a hundred halvings."""
    low, high = torch.zeros_like(radius), d.abs().amax(1, keepdim=True)
    for _ in range(100):
        theta = (low + high) / 2
        over = left(d, most, theta).sum(1, keepdim=True) > radius
        low, high = torch.where(over, theta, low), torch.where(over, high, theta)
    return left(d, most, high)


@given(problems())
def test_entries_shrink_as_a_slow_bisection_says(problem: Problem) -> None:
    d, most, radius = problem
    slow = bisected(d, most, radius)
    inside = most.sum(1, keepdim=True) <= radius
    slow = torch.where(inside, most, slow)
    scale = 1e-13 * float(d.abs().max() + 1)
    found = soft_threshold_within(d, most, radius)
    assert torch.allclose(found.abs(), slow, rtol=0, atol=scale)
    assert bool((found * d >= 0).all())
    assert torch.allclose(soft_threshold_within(d, d.abs(), radius), soft_threshold(d, radius), rtol=0, atol=scale)


@given(problems())
def test_newton_and_halving_agree_where_newton_arrives(problem: Problem) -> None:
    d, most, radius = problem
    theta, arrived = newton(d.abs(), most, radius)
    one, other = left(d, most, theta), left(d, most, halved(d.abs(), most, radius))
    assert bool((((one - other).abs() <= 1e-13 * (d.abs().max() + 1)) | ~arrived).all())


def test_newton_arrives_on_what_a_sparse_step_leaves() -> None:
    generator = torch.Generator().manual_seed(0)
    d = torch.zeros(200, 400).scatter(
        1, torch.randint(400, (200, 30), generator=generator), torch.rand(200, 30, generator=generator)
    )
    most = torch.minimum(d, torch.rand(d.shape, generator=generator))
    assert bool(newton(d, most, 0.8 * most.sum(1, keepdim=True))[1].all())


@given(problems())
def test_a_row_does_not_depend_on_the_others(problem: Problem) -> None:
    d, most, radius = problem
    together, alone = soft_threshold_within(d, most, radius), [torch.split(row, 1) for row in (d, most, radius)]
    assert torch.equal(together, torch.cat([soft_threshold_within(*row) for row in zip(*alone, strict=True)]))


@given(problems(), st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]), st.data())
def test_the_kth_largest_is_that_of_a_sort(problem: Problem, dtype: torch.dtype, data: st.DataObject) -> None:
    values = problem[0].to(dtype)
    counts = [data.draw(st.integers(1, values.shape[1])) for _ in values]
    expected = [sorted(row.tolist(), reverse=True)[count - 1] for row, count in zip(values, counts, strict=True)]
    found = kth_largest(values, torch.tensor(counts)[:, None])
    assert found.dtype == dtype
    assert found.squeeze(1).tolist() == expected


@given(problems(), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]), st.data())
def test_the_largest_entries_are_those_of_a_stable_sort(
    problem: Problem, dtype: torch.dtype, data: st.DataObject
) -> None:
    d = problem[0].to(dtype)
    counts = [data.draw(st.one_of(st.floats(0, 50), st.just(float("inf")))) for _ in d]
    found = largest(d, torch.tensor(counts, dtype=torch.float64)[:, None])
    assert found.dtype == dtype
    for row, kept, count in zip(d.tolist(), found.tolist(), counts, strict=True):
        order = sorted((-abs(value), i) for i, value in enumerate(row))[: int(min(count, len(row)))]
        assert kept == [value if (-abs(value), i) in order else 0.0 for i, value in enumerate(row)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_flags_are_one_where_the_comparison_holds(dtype: torch.dtype) -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, float("inf")]], dtype=dtype)
    found = flags(torch.ge, a, a.new_tensor([[2.0], [3.0]]))
    assert found.dtype == dtype
    assert found.tolist() == [[0.0, 1.0], [1.0, 1.0]]


@given(st.floats(0, 50), st.floats(0, 50))
@example(size=17.79970665476572, t=0.0)
@example(size=0.0, t=1.0)
def test_the_two_thirds_threshold_is_the_best_of_a_fine_grid(size: float, t: float) -> None:
    def objective(u: Tensor) -> Tensor:
        return t * u ** (2 / 3) + (u - size) ** 2 / 2

    found = two_thirds_threshold(torch.tensor([size], dtype=torch.float64), torch.tensor([t], dtype=torch.float64))
    grid = objective(torch.linspace(0, size, 2001, dtype=torch.float64))
    assert bool((found >= 0).all())
    assert float(objective(found)) <= float(grid.min()) * (1 + 1e-9) + 1e-12
