"""GeoDA: from labels to the nearest point along the estimated normal, each query counted."""

import pytest
import torch
from torch import Tensor

from advkit.attacks import GeoDA, create_attack
from advkit.attacks.parts.waves import rings, smooth, waves
from advkit.core.errors import InputError
from advkit.testing import AffineClassifier
from advkit.testing._toys import SHAPE
from advkit.testing.nets import Spy


def affine(samples: int = 8) -> tuple[AffineClassifier, Tensor, Tensor]:
    model = AffineClassifier.random(SHAPE, 2, seed=2, centred=True)
    x = 0.3 + 0.4 * torch.rand(samples, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return model, x, model(x).argmax(1).detach()


@pytest.mark.parametrize(("norm", "factor"), [("l2", 1.05), ("linf", 1.1)])
def test_it_comes_near_the_closed_form_optimum(norm: str, factor: float) -> None:
    model, x, y = affine()
    exact, _ = model.nearest(x, y, norm)
    found = GeoDA(norm=norm, queries=900)(model, x, y)
    assert found.success.all()
    assert (found.distance >= exact * (1 - 1e-9)).all()
    assert float((found.distance / exact).median()) < factor


def test_more_queries_come_nearer() -> None:
    model, x, y = affine()
    medians = [float(GeoDA(queries=q)(model, x, y).distance.median()) for q in (80, 200, 600)]
    assert medians[0] > medians[1] > medians[2]


def test_labels_are_all_it_sees() -> None:
    model, x, y = affine(3)
    free = GeoDA(queries=200)(model, x, y)
    found = GeoDA(queries=200)(lambda z: torch.nn.functional.one_hot(model(z).argmax(1), 2) * 5.0, x, y)
    torch.testing.assert_close(found.x_adv, free.x_adv)


def test_every_query_is_counted_and_none_beyond_the_limit_is_made() -> None:
    model, x, y = affine(1)
    spy = Spy(model)
    found = GeoDA(queries=77)(spy, x, y)
    assert int(found.queries) == spy.forwards <= 77 + 3
    assert int(found.gradients) == spy.backwards == 0


def test_the_rounds_share_the_queries_as_the_paper_says() -> None:
    attack, t = GeoDA(first=60, decay=0.6), torch.arange(5)
    shares = attack._needed(t).diff(prepend=torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(shares, 60 * 0.6 ** (-2 / 3 * t.double()))


def test_smooth_is_the_sum_of_its_waves() -> None:
    shape, few = (2, 6, 5), (2, 3, 2)
    g = torch.Generator().manual_seed(0)
    coefficients = torch.randn(4, *few, generator=g, dtype=torch.float64)
    numbers = [c * 30 + i * 5 + j for c in range(2) for i in range(3) for j in range(2)]
    wanted = (coefficients.flatten(1)[..., None, None, None] * waves(torch.tensor(numbers), shape)).sum(1)
    torch.testing.assert_close(smooth(coefficients, shape), wanted)
    assert set((rings(shape, 0.4) == 0).nonzero().flatten().tolist()) <= set(numbers)


def test_where_the_boundary_is_smooth_low_waves_come_nearer() -> None:
    g = torch.Generator().manual_seed(3)
    w = smooth(torch.randn(1, 1, 4, 4, generator=g, dtype=torch.float64), (1, 24, 24)).flatten()
    model = AffineClassifier(torch.stack([w, -w]), torch.stack([-0.4 * w.sum(), 0.4 * w.sum()]))
    x = 0.3 + 0.4 * torch.rand(8, 1, 24, 24, generator=g, dtype=torch.float64)
    y = model(x).argmax(1).detach()
    few, all_ = (GeoDA(queries=300, frequencies=f)(model, x, y).distance.median() for f in (0.3, 1.0))
    assert few < 0.9 * all_


def test_wrong_options_are_refused() -> None:
    for spec in ("geoda(first=0)", "geoda(decay=1)", "geoda(frequencies=2)", "geoda(probe=0)", "geoda(norm=l1)"):
        with pytest.raises(InputError):
            create_attack(spec)
