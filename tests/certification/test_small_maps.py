"""The transpose of a convolution over small maps is one product: the same numbers as torch's, and fewer waits."""

import itertools

import pytest
import torch
from torch import Tensor

from advkit.certification import linear
from advkit.certification.linear import Conv


def conv(kernel: tuple[int, int], stride: int, padding: int, dilation: int) -> Conv:
    weight = torch.randn(64, 64, *kernel, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    places = {"stride": [stride] * 2, "padding": [padding, max(0, padding - 1)], "dilation": [dilation] * 2}
    return Conv(weight=weight, **places, transposed=False, output_padding=[0, 0], groups=1)


def transposed(made: Conv, A: Tensor, shape: tuple[int, ...], deep: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    monkeypatch.setattr(linear, "DEEP", deep)
    return made.transpose(A, [shape])[0]


CASES = [
    (kernel, stride, padding, dilation, side)
    for kernel, stride, padding, dilation, side in itertools.product(
        [(1, 1), (3, 3), (2, 5)], [1, 2, 3], [0, 1, 2], [1, 2], [1, 2, 5]
    )
    if all(side + 2 * p > dilation * (k - 1) for k, p in zip(kernel, (padding, max(0, padding - 1)), strict=True))
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_product_is_the_transposed_convolution(
    case: tuple[tuple[int, int], int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, stride, padding, dilation, side = case
    made, shape = conv(kernel, stride, padding, dilation), (64, side, side + 1)
    out = made.linear([torch.zeros(1, *shape, dtype=torch.float64)]).shape[1:]
    A = torch.randn(7, *out, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(linear, "AT_ONCE", 64 * 64)  # several parts
    found = transposed(made, A, shape, 0, monkeypatch)
    assert found.shape == (7, *shape)
    assert torch.allclose(found, transposed(made, A, shape, 10**9, monkeypatch), rtol=1e-12, atol=1e-12)


def test_the_product_is_taken_where_maps_are_small_and_has_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    made = conv((3, 3), 1, 1, 1)
    A = torch.randn(2, 64, 1, 1, dtype=torch.float64, requires_grad=True)
    asked = []
    by_product = Conv._by_product
    monkeypatch.setattr(Conv, "_by_product", lambda self, *a: asked.append(1) or by_product(self, *a))
    made.transpose(A, [(64, 1, 3)])[0].sum().backward()
    assert asked
    assert A.grad is not None
    assert torch.allclose(A.grad[0, :, 0, 0], made.weight[:, :, 1].sum((1, 2)))  # three taps of nine see the map
    made.transpose(torch.zeros(2, 64, 8, 6, dtype=torch.float64), [(64, 8, 8)])
    assert len(asked) == 1
