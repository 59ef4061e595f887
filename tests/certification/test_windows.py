"""Rows as windows are the dense rows: sampled points alone do not find a wrong fast path."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.graph import trace
from advkit.certification.rounding import EXACT


class Sums(nn.Module):
    """A residual sum whose branches see windows of different sizes, batch norm and a leaky rectifier."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.norm, self.out = nn.BatchNorm2d(3), nn.Linear(3 * 81, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(self.a(x)).relu()
        z = nn.functional.leaky_relu(self.b(z) + self.c(z))
        return self.out(self.b(z).relu().flatten(1))


def strided() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 4, 2, 1), nn.ReLU(), nn.Conv2d(3, 4, (3, 2), (1, 2), (1, 0)), nn.Tanh(),
        nn.Conv2d(4, 2, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 2, 2, dilation=2),
        nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip


@pytest.mark.parametrize("make", [Sums, strided, grouped])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 0.3), ("l1", 0.5)])
def test_windows_are_the_dense_rows(make: Callable[[], nn.Module], norm: str, eps: float) -> None:
    torch.manual_seed(0)
    net, x = make().double(), torch.rand(3, 2, 9, 9, dtype=torch.float64)
    net(x)
    net.eval()
    found = []
    for windows in (True, False):
        made = Bounds(trace(net, x).graph(), ball_around(x, eps, norm, (0, 1)), EXACT, windows=windows)
        made.forward(refined=True)
        found.append(made)
    for one, other in zip(*((*m.low, *m.high) for m in found), strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)
