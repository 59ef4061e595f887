"""The boundary attack: a walk that sees labels, comes nearer with every success and adapts its steps."""

import pytest
import torch

from advkit.attacks import Boundary
from advkit.attacks.boundary import _adapted
from advkit.core.errors import InputError
from advkit.testing import AffineClassifier
from advkit.testing._toys import SHAPE
from advkit.testing.nets import Spy


def affine(samples: int = 8) -> tuple[AffineClassifier, torch.Tensor, torch.Tensor]:
    model = AffineClassifier.random(SHAPE, 2, seed=2, centred=True)
    x = 0.3 + 0.4 * torch.rand(samples, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return model, x, model(x).argmax(1).detach()


def test_it_comes_near_the_closed_form_optimum() -> None:
    model, x, y = affine()
    exact, _ = model.nearest(x, y, "l2")
    found = Boundary(queries=1000)(model, x, y)
    assert found.success.all()
    assert (found.distance >= exact * (1 - 1e-9)).all()
    assert float((found.distance / exact).median()) < 1.1


def test_more_queries_come_nearer() -> None:
    model, x, y = affine()
    medians = [float(Boundary(queries=q)(model, x, y).distance.median()) for q in (50, 150, 450)]
    assert medians[0] > medians[1] > medians[2]


def test_every_query_is_counted_and_none_beyond_the_limit_is_made() -> None:
    model, x, y = affine(1)
    spy = Spy(model)
    found = Boundary(queries=77)(spy, x, y)
    assert int(found.queries) == spy.forwards <= 77 + 3
    assert int(found.gradients) == 0


def test_steps_settle_where_the_share_of_successes_is_the_one_wanted() -> None:
    source = torch.Generator().manual_seed(0)
    length, rows = torch.full((64,), 5.0, dtype=torch.float64), torch.ones(64, dtype=torch.bool)
    for _ in range(300):  # a step succeeds with probability 1 - length
        fooled = torch.rand(64, generator=source) > length
        length = _adapted(length, rows, fooled, rate=0.2, share=0.25, most=10.0)
    assert float(length.mean()) == pytest.approx(0.75, abs=0.1)
    assert torch.equal(_adapted(length, ~rows, ~rows, rate=1.0, share=0.5, most=10.0), length)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InputError, match="expected along as a number > 0, got -1"):
        Boundary(along=-1)
    with pytest.raises(InputError, match="norm of boundary"):
        Boundary(norm="linf")
