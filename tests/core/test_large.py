"""What large tensors on a CPU are spared changes no bit of what comes out."""

import math

import pytest
import torch
from torch import Tensor

from advkit.core import large
from advkit.core.best_points import LOOK, choose, equal_rows, sloped
from advkit.core.large import in_pieces, is_large
from advkit.core.losses import _finite
from advkit.core.norms.row_by_row import of_unit_length, per_row
from advkit.core.threat import Threat

SHAPE = (12, 3, 20, 20)


def bits(t: Tensor) -> Tensor:
    """The entries as integers, so that NaN equals itself and -0 does not equal 0."""
    return t.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[t.element_size()])


def images(dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)).to(dtype)
    x[0, 0, 0, :5] = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 0.0])
    return x


def test_the_images_of_these_tests_are_large_and_half_of_them_are_not():
    assert is_large(images())
    assert not is_large(images()[:6])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rows_are_chosen_bit_for_bit(dtype, share):
    first, second = images(dtype), images(dtype, seed=1)
    mask = torch.arange(len(first)) < share * len(first)
    assert in_pieces(first) is not None
    expected = torch.where(per_row(mask, first), first, second)
    assert bits(choose(mask, first, second)).equal(bits(expected))


@pytest.mark.parametrize(
    "odd",
    [
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x[:, :, :, ::2],
        lambda x: x.flatten()[3 : 3 + 9000].view(3, 3000),
        lambda x: x.flatten()[:9003].view(3, 3001),
        lambda x: x.clone().requires_grad_(),
        lambda x: x[:6],
    ],
    ids=["channels last", "strides", "offset", "odd rows", "a graph", "few"],
)
def test_rows_that_do_not_lie_in_pieces_are_chosen_all_the_same(odd):
    first, second = odd(images()), odd(images(seed=1))
    mask = torch.arange(len(first)) % 2 == 0
    assert in_pieces(first) is None
    assert bits(choose(mask, first, second)).equal(bits(torch.where(per_row(mask, first), first, second)))


def test_the_result_of_a_choice_is_nobodys_alias():
    first, second = images(), images(seed=1)
    for mask in (torch.zeros(12).bool(), torch.ones(12).bool()):
        chosen = choose(mask, first, second)
        assert chosen.data_ptr() not in (first.data_ptr(), second.data_ptr())


def test_a_gradient_has_a_slope_where_any_entry_is_not_zero():
    gradient = torch.zeros(SHAPE)
    gradient[1, 0, 0, 0], gradient[2, 2, 19, 19], gradient[3, 1, 10, 3], gradient[4, 0, 0, 1] = 1, -1, 1e-45, math.nan
    assert sloped(gradient).tolist() == [False, True, True, True, True] + 7 * [False]
    gradient[:, :] = 1e-45
    assert sloped(gradient).all()
    gradient.flatten(1)[5, 600 : 600 + LOOK] = 0  # all that is looked at first
    assert sloped(gradient).all()


@pytest.mark.parametrize("rows", [6, 12])
def test_rows_are_equal_where_every_entry_is(rows):
    first = images()[1:][:rows].repeat(2, 1, 1, 1)[:rows]
    second = first.clone()
    assert equal_rows(first, second).all()
    second.flatten(1)[0, 0] += 1  # far from the middle
    second.flatten(1)[1, 600] += 1  # in it
    second.flatten(1)[2, -1] += 1
    assert equal_rows(first, second).tolist() == [False] * 3 + [True] * (rows - 3)
    assert not equal_rows(first, first + 1).any()
    first[0, 0, 0, 0] = second[0, 0, 0, 0] = math.nan
    assert not equal_rows(first, second)[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_what_is_not_finite_in_a_large_gradient_is_replaced(value):
    gradient = torch.ones(SHAPE)
    gradient[3, 1, 2, :2] = value  # two of 3e38 have no finite sum
    assert _finite(gradient).equal(gradient.nan_to_num(0.0))
    gradient[4, 0, 0, 0] = -value
    assert _finite(gradient).equal(gradient.nan_to_num(0.0))


def test_unit_length_is_the_same_for_large_and_small_batches():
    g = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    g[0], g[1], g[2] = g[0] * 1e-41, 0, g[2] * 1e30
    assert of_unit_length(g).equal(torch.cat([of_unit_length(part) for part in g.split(4)]))
    assert torch.linalg.vector_norm(of_unit_length(g).double().flatten(1), dim=1)[3:].sub(1).abs().max() < 1e-6


@pytest.mark.parametrize("eps", [math.inf, 0.1])
def test_the_box_is_the_same_for_large_and_small_batches(eps, monkeypatch):
    """As numbers: which NaN it is, and the sign of a zero, may differ."""
    region, points = Threat("l2", eps).around(torch.rand(SHAPE)), images()
    fast = region.clamp(points)
    assert fast.isnan().sum() == 1
    torch.testing.assert_close(fast, torch.clamp(points, region.low, region.high), rtol=0, atol=0, equal_nan=True)
    monkeypatch.setattr(large, "MANY", 10**9)
    torch.testing.assert_close(fast, region.clamp(points), rtol=0, atol=0, equal_nan=True)


def test_a_step_does_not_write_on_what_it_is_given():
    x = torch.rand(SHAPE)
    for norm in ("linf", "l2", "l1", "l0"):
        region, gradient = Threat(norm, 0.1 if norm == "linf" else 5.0).around(x), torch.randn(SHAPE)
        start, kept = x.clone(), (x.clone(), gradient.clone())
        region.step(start, gradient, torch.full((len(x), 1, 1, 1), 0.5))
        assert start.equal(kept[0])
        assert x.equal(kept[0])
        assert gradient.equal(kept[1])
