"""Rows that leave a backward pass early have sound bounds, and the others those of the whole pass."""

import pytest
import torch
from torch import Tensor, nn

from advkit.certification.ball import Ball, ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.early import boxed
from advkit.certification.graph import trace
from advkit.certification.rounding import EXACT
from advkit.certification.unit_rows import Rows, units


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 4, 2, 1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(27, 12), nn.ReLU(), nn.Linear(12, 3),
    )  # fmt: skip


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize("place", [5, 8])
def test_a_row_leaves_with_a_sound_bound_or_has_that_of_the_whole_pass(
    place: int, windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net, x = network().double(), torch.rand(3, 1, 6, 6, dtype=torch.float64)
    made = Bounds(trace(net, x).graph(), ball_around(x, 0.02, "linf", (0, 1)), EXACT, windows=windows)
    with torch.no_grad():
        made.forward(refined=True)
        index = torch.arange(made.low[place][0].numel()).expand(3, -1)
        sign = torch.where(torch.rand(index.shape) < 0.5, -1.0, 1.0).double()
        whole = made._units(place, index, sign, torch.full_like(sign, torch.inf))
        ended: list[int] = []
        least = Ball.least
        monkeypatch.setattr(Ball, "least", lambda self, row: ended.append(row.a.shape[1]) or least(self, row))
        limit = whole.median() - 0.5 * torch.rand(index.shape, dtype=torch.float64)
        found = made._units(place, index, sign, limit)
        z = made.ball.low + (made.ball.high - made.ball.low) * torch.rand(100, *x.shape, dtype=torch.float64)
        value = sign * net[:place](z.flatten(0, 1)).view(100, 3, -1)
    gone = found > limit
    assert sum(ended) < index.shape[1]
    assert 0 < int(gone.sum()) < gone.numel()
    assert (found <= value.amin(0)).all()
    torch.testing.assert_close(found[~gone], whole[~gone], atol=1e-9, rtol=0)


@pytest.mark.parametrize("windows", [True, False])
def test_the_bound_over_a_box_is_its_least_corner(windows: bool) -> None:
    """A window has entries outside the map, which count as 0."""
    torch.manual_seed(0)
    low = torch.randn(2, 2, 3, 3, dtype=torch.float64)
    high = low + torch.rand_like(low)
    index = torch.randint(0, 18, (2, 5))
    rows = units(index, (2, 3, 3), torch.ones(2, 5, dtype=torch.float64), low, windows=windows)
    if windows:
        rows = Rows(a=torch.randn(2, 5, 2, 2, 2, dtype=torch.float64), top=rows.top, left=rows.left)
        rows = rows.like(rows.a * (rows.position((2, 3, 3)) < 9)[..., None])
    else:
        rows = Rows(a=torch.randn(2, 5, 2, 3, 3, dtype=torch.float64))
    a = rows.whole((2, 3, 3)).a
    corner = torch.where(a > 0, low[:, None], high[:, None])
    exact: Tensor = (a * corner).flatten(2).sum(2)
    found = boxed(rows, (low, high))
    assert (found < exact).all()
    torch.testing.assert_close(found, exact, atol=1e-12, rtol=0)
