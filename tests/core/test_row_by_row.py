"""What several norms compute row by row, against slow searches."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advkit.core.norms.row_by_row import least_level


def filled(weight: Tensor, limit: Tensor, level: float) -> float:
    """`sum_i weight_i min(level, limit_i)`."""
    return float((weight * limit.clamp(max=level)).sum())


def searched(weight: Tensor, limit: Tensor, need: float) -> float:
    """The least level by bisection; infinity where the largest of all is not enough."""
    low, high = 0.0, float(limit.max())
    if filled(weight, limit, high) < need:
        return torch.inf
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if filled(weight, limit, middle) >= need else (middle, high)
    return high


@given(st.integers(1, 7), st.integers(0, 9999), st.sampled_from([1e-150, 1e-3, 1.0, 50.0]), st.booleans())
def test_the_least_level_is_that_of_a_bisection(size: int, seed: int, scale: float, coarse: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, limit = torch.rand(2, 4, size, generator=generator, dtype=torch.float64)
    if coarse:  # zeros and ties
        weight, limit = (weight * 3).round() / 2, (limit * 3).round() / 4
    weight = weight * scale
    most = (weight * limit).sum(1, keepdim=True)
    need = most * torch.tensor([[0.0], [0.3], [0.9], [1.1]], dtype=torch.float64)
    for row, level in enumerate(least_level(weight, limit, need)[:, 0].tolist()):
        expected = searched(weight[row], limit[row], float(need[row]))
        assert level == expected or abs(level - expected) <= 1e-9 * (1 + expected), (row, level, expected)


def test_the_least_level_where_all_entries_are_at_their_limits_and_where_none_moves() -> None:
    weight = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    limit = torch.tensor([[0.25, 0.5], [0.25, 0.5], [1.0, 1.0], [1.0, 1.0], [0.5, 9.0]], dtype=torch.float64)
    need = torch.tensor([[1.0], [1.0625], [0.0], [1e-9], [0.5]], dtype=torch.float64)
    assert least_level(weight, limit, need)[:, 0].tolist() == [0.5, torch.inf, 0.0, torch.inf, 0.5]
