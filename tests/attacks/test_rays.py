"""RayS: query by query what a slow loop over one image asks, and the nearest corner of the box on affine networks."""

import math

import pytest
import torch
from torch import Tensor

from advkit.attacks import RayS, create_attack
from advkit.core.errors import InputError
from advkit.testing import AffineClassifier
from advkit.testing.nets import Spy


def case(samples: int = 6) -> tuple[AffineClassifier, Tensor, Tensor]:
    model = AffineClassifier.random((1, 3, 4), 3, seed=4, centred=True)
    x = 0.2 + 0.6 * torch.rand(samples, 1, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return model, x, model(x).argmax(1).detach()


def slowly(model: AffineClassifier, x: Tensor, y: int, queries: int, tolerance: float) -> list[Tensor]:
    """The points that the algorithm asks about, one image (12,), written as it is told."""
    asked: list[Tensor] = []

    def fools(v: Tensor, r: float) -> bool:
        if len(asked) == queries:
            raise StopIteration
        asked.append((x + r * v).clamp(0, 1))
        return int(model(asked[-1][None])[0].argmax()) != y

    def shortened(v: Tensor, best: float) -> float | None:
        high = best * (1 - tolerance)
        if not fools(v, high):
            return None
        low = 0.0
        while high - low > tolerance * high:
            middle = (low + high) / 2
            low, high = (low, middle) if fools(v, middle) else (middle, high)
        return high

    v, best = torch.ones_like(x), 1 / (1 - tolerance)
    try:
        best = shortened(v, best) or best
        while True:
            gained, size = False, len(x)
            while size:
                for block in range(math.ceil(len(x) / size)):
                    flipped = v.clone()
                    flipped[block * size : (block + 1) * size] *= -1
                    found = shortened(flipped, best)
                    if found is not None:
                        v, best, gained = flipped, found, True
                size = 0 if size == 1 else (size + 1) // 2
            if not gained:
                return asked
    except StopIteration:
        return asked


@pytest.mark.parametrize("sample", range(4))
def test_it_asks_what_a_loop_over_one_image_asks(sample: int) -> None:
    model, x, y = case()
    points: list[Tensor] = []

    def spy(z: Tensor) -> Tensor:
        points.append(z[0].flatten().clone())
        return model(z)

    one = x[sample : sample + 1]
    found = RayS(queries=300)(spy, one, y[sample : sample + 1])
    wanted = slowly(model, one.flatten(), int(y[sample]), 300, 0.005)
    asked = points[-int(found.queries) + 1 :][: len(wanted)]
    torch.testing.assert_close(torch.stack(asked), torch.stack(wanted))
    assert int(found.queries) <= len(wanted) + 3


def test_it_ends_at_the_nearest_point_and_by_itself() -> None:
    model, x, y = case(12)
    exact, _ = model.nearest(x, y, "linf")
    found = RayS(queries=2000)(model, x, y)
    assert found.success.all()
    assert (found.distance >= exact * (1 - 1e-9)).all()
    assert (found.distance <= 1.1 * exact).float().mean() > 0.8  # a flip of one block at a time may stop short
    assert float(found.queries.max()) < 1000


def test_every_query_is_counted_and_none_beyond_the_limit_is_made() -> None:
    model, x, y = case(1)
    spy = Spy(model)
    found = RayS(queries=44)(spy, x, y)
    assert int(found.queries) == spy.forwards <= 44 + 3
    assert int(found.gradients) == spy.backwards == 0


def test_where_nothing_fools_it_gives_up() -> None:
    x, y = torch.full((2, 1, 2, 2), 0.5), torch.zeros(2, dtype=torch.int64)
    found = RayS(queries=500)(lambda z: torch.stack([z.mean((1, 2, 3)) + 2, z.mean((1, 2, 3))], 1), x, y)
    assert not found.success.any()
    assert torch.equal(found.x_adv, x)
    assert float(found.queries.max()) < 30


def test_wrong_options_are_refused() -> None:
    for spec in ("rays(queries=0)", "rays(tolerance=0)", "rays(norm=l2)"):
        with pytest.raises(InputError):
            create_attack(spec)
