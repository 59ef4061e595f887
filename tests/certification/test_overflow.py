"""Networks whose own arithmetic overflows somewhere in the ball: no method certifies an image there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advkit.certification import certify
from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.certify import METHODS
from advkit.certification.graph import trace
from advkit.certification.rounding import rounding_of
from advkit.data import load_data
from advkit.models import load_model

ASKED = [(torch.float32, method) for method in METHODS]
ASKED += [(dtype, method) for dtype in (torch.float16, torch.bfloat16) for method in ("ibp", "crown")]


class Peaked(nn.Module):
    """Logits 10 - z and 0, where z is a pixel that went through numbers of 1.8 times itself times the largest number.

    Pixels of 0.5 fit into the type, those of 0.6 do not.

    Args:
        through: function from the pixels (N, 4) and the largest number to (N, 4).
        dtype: type of the network.
    """

    def __init__(self, through: Callable[[Tensor, float], Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.through, self.largest = through, torch.finfo(dtype).max
        self.out = nn.Linear(4, 2).to(dtype)
        with torch.no_grad():
            self.out.weight.zero_()[0, 0] = -1
            self.out.bias.copy_(torch.tensor([10.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.through(x.flatten(1), self.largest))


def up(z: Tensor, largest: float) -> Tensor:
    return z * (largest / 16) * 28.8


def down(z: Tensor, largest: float) -> Tensor:
    return z * (1 / 28.8) * (16 / largest)


def doubled(z: Tensor) -> Tensor:
    return F.conv1d(z[:, None], torch.full((1, 1, 1), 2.0, dtype=z.dtype))[:, 0]


def pooled(z: Tensor) -> Tensor:
    return F.avg_pool2d(z.view(-1, 1, 2, 2), 2).expand(-1, 1, 2, 2).flatten(1)


def through_a_matrix(z: Tensor, largest: float) -> Tensor:
    """Sums 0.45 z and takes 0.45 z away again: no matter in which order, the absolute values sum up to more."""
    weight = torch.tensor([0.45, -0.45, 0.45, 0.45], dtype=z.dtype).expand(4, 4) * largest
    return F.linear(z, weight) / (0.9 * largest)


def through_batch_norm(z: Tensor, largest: float) -> Tensor:
    """The difference from the mean is divided by 1/256 before the gain makes it small."""
    none, one = torch.zeros(4, dtype=z.dtype), torch.ones(4, dtype=z.dtype)
    return F.batch_norm(z * (largest / 256 * 1.8), none, none, one / largest, none, eps=2**-16)


REALLY: dict[str, Callable[[Tensor, float], Tensor]] = {
    "factors": lambda z, most: down(up(z, most), most),
    "a rectifier between": lambda z, most: down(up(z, most).relu(), most),
    "a sum": lambda z, most: (0.9 * most * z + 0.9 * most * z) / most,
    "a difference": lambda z, most: down(up(z, most), most) + 0.0 * up(z, most),
    "a quotient": lambda z, most: down(z / (16 / most) * 28.8, most),
    "a convolution": lambda z, most: down(doubled(up(z, most / 2)), most),
}
"""In any order of operations."""

POSSIBLY = {
    **REALLY,
    "a matrix": through_a_matrix,
    "a mean": lambda z, most: (z * (0.45 * most)).mean(1, keepdim=True).expand(-1, 4) / (0.45 * most),
    "average pooling": lambda z, most: pooled(z * (0.45 * most)) / (0.45 * most),
    "batch norm": through_batch_norm,
}
"""In some order, or on some device."""


@pytest.mark.parametrize(("dtype", "method"), ASKED, ids=str)
@pytest.mark.parametrize("name", POSSIBLY)
def test_an_image_is_certified_only_where_nothing_overflows(name: str, dtype: torch.dtype, method: str) -> None:
    model, y = Peaked(POSSIBLY[name], dtype), torch.zeros(2, dtype=torch.int64)
    x = torch.full((2, 1, 2, 2), 0.5, dtype=dtype)
    found = certify(model, x, y, eps=torch.tensor([0.001, 0.1]), method=method, radius=method == "crown")
    assert found.certified.tolist() == [True, False]
    assert found.margin[1].tolist() == [0.0, -torch.inf]
    if found.radius is not None:
        assert 0 < float(found.radius[1]) < 0.0556  # 1 / 1.8 - 0.5
    if name in REALLY:
        with torch.no_grad():
            assert model(x + 0.05).isfinite().all()
            assert not model(x + 0.1).isfinite().any(1).all()


@pytest.mark.parametrize("name", POSSIBLY)
def test_the_same_in_float64_whose_numbers_the_bounds_share(name: str) -> None:
    x, y = torch.full((1, 1, 2, 2), 0.5).double(), torch.zeros(1, dtype=torch.int64)
    for method in METHODS:
        assert not certify(Peaked(POSSIBLY[name], torch.float64), x, y, eps=0.1, method=method).certified.any()
        small = Peaked(lambda z, most: POSSIBLY[name](z, most / 8), torch.float64)
        assert method == "lipschitz" or certify(small, x, y, eps=0.1, method=method).certified.all()


@pytest.mark.parametrize("power", [lambda z: z**2, lambda z: z * z, lambda z: z.square()], ids=["2", "z z", "square"])
def test_products_that_overflow_are_not_certified_by_intervals(power: Callable[[Tensor], Tensor]) -> None:
    model = Peaked(lambda z, most: power(z * most**0.5 * 1.8) / most, torch.float32)
    x = torch.full((2, 1, 2, 2), 0.5)
    found = certify(model, x, torch.zeros(2, dtype=torch.int64), eps=torch.tensor([0.001, 0.1]), method="ibp")
    assert found.certified.tolist() == [True, False]


@pytest.mark.parametrize("weights", ["ibp", "trades"])
def test_no_number_of_a_shipped_network_comes_near_the_largest(weights: str) -> None:
    x, _ = load_data("mnist5k", split="test")[:8]
    for dtype in (torch.float16, torch.float32):
        model = load_model("lenet5", weights=weights).to(dtype)
        graph, ball = trace(model, x.to(dtype)).graph(), ball_around(x, 0.1, "linf", (0, 1))
        made = Bounds(graph, ball, rounding_of(dtype, x.device))
        made.forward(refined=False)
        assert made.fits.all()
        assert (made.most > 1).all()
