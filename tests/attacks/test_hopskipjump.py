"""HopSkipJump: from labels to the nearest point, each query counted."""

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import HopSkipJump, create_attack
from advkit.attacks.parts.decision import Segment, after_look, candidate, directions, middle, narrow, no_segment
from advkit.attacks.parts.normal import Estimate
from advkit.core.errors import InputError
from advkit.core.oracle import Oracle
from advkit.testing import AffineClassifier
from advkit.testing._toys import SHAPE, toy_case
from advkit.testing.nets import Spy, Wrapped


def affine(samples: int = 8) -> tuple[AffineClassifier, Tensor, Tensor]:
    model = AffineClassifier.random(SHAPE, 2, seed=2, centred=True)
    x = 0.3 + 0.4 * torch.rand(samples, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return model, x, model(x).argmax(1).detach()


@pytest.mark.parametrize(("norm", "factor"), [("l2", 1.05), ("linf", 1.25)])
def test_it_comes_near_the_closed_form_optimum(norm: str, factor: float) -> None:
    model, x, y = affine()
    exact, _ = model.nearest(x, y, norm)
    found = HopSkipJump(norm=norm, queries=900)(model, x, y)
    assert found.success.all()
    assert (found.distance >= exact * (1 - 1e-9)).all()
    assert float((found.distance / exact).median()) < factor


def test_more_queries_come_nearer() -> None:
    model, x, y = affine()
    medians = [float(HopSkipJump(queries=q)(model, x, y).distance.median()) for q in (50, 150, 450)]
    assert medians[0] > medians[1] > medians[2]


def test_labels_are_all_it_sees() -> None:
    """Logits that keep the label and nothing else give the same result."""
    model, x, y = affine(3)
    hard = Wrapped(model, after=lambda logits: nn.functional.one_hot(logits.argmax(1), 2) * 5.0)
    free = HopSkipJump(queries=200)(model, x, y)
    found = HopSkipJump(queries=200)(hard.eval(), x, y)
    torch.testing.assert_close(found.x_adv, free.x_adv)


def test_every_query_is_counted_and_none_beyond_the_limit_is_made() -> None:
    model, x, y = affine(1)
    spy = Spy(model)
    found = HopSkipJump(queries=77)(spy, x, y)
    assert int(found.queries) == spy.forwards <= 77 + 3
    assert int(found.gradients) == spy.backwards == 0


def test_where_no_noise_is_adversarial_it_gives_up_after_its_tries() -> None:
    never = Wrapped(nn.Flatten(), after=lambda z: torch.stack([z[:, 0] + 2, z[:, 1]], 1))
    x, y = toy_case().x[:2].float(), torch.zeros(2, dtype=torch.int64)
    found = HopSkipJump(queries=500, tries=9)(never, x, y)
    assert not found.success.any()
    assert torch.equal(found.x_adv, x)
    assert (found.distance == torch.inf).all()
    assert (found.queries <= 9 + 2).all()


def test_an_image_of_the_target_starts_it_where_noise_does_not() -> None:
    """Class 1 only within a small ball around one image."""
    there = torch.full(SHAPE, 0.9)
    there[:, ::2] = 0.3
    flat = there.flatten()
    model = Wrapped(nn.Flatten(), after=lambda z: torch.stack([0 * z[:, 0], 1 - (z - flat).norm(dim=1)], 1))
    x, y = torch.full((1, *SHAPE), 0.2), torch.zeros(1, dtype=torch.int64)
    target = torch.ones(1, dtype=torch.int64)
    assert not HopSkipJump(queries=100, tries=20)(model, x, y, target=target).success
    found = HopSkipJump(queries=400, tries=20, starts=there[None])(model, x, y, target=target)
    assert found.success
    exact = (there - x[0]).norm() - 1
    assert found.distance.item() == pytest.approx(float(exact), rel=0.05)


def test_the_estimate_of_a_normal_is_that_of_the_paper() -> None:
    g = torch.Generator().manual_seed(0)
    u = torch.randn(1, 50, 7, generator=g, dtype=torch.float64)
    phi = (torch.rand(1, 50, generator=g) < 0.3).double() * 2 - 1
    paper = ((phi - phi.mean())[..., None] * u).sum(1)
    yes = phi > 0
    estimate = Estimate(torch.tensor([50]), yes.sum(1), u.sum(1), (u * yes[..., None]).sum(1))
    torch.testing.assert_close(estimate.normal(), paper / 2)
    for answer, sign in ((True, 1.0), (False, -1.0)):
        toward = u.sum(1) * answer
        alike = Estimate(torch.tensor([50]), torch.tensor([50 * answer]), u.sum(1), toward)
        cosine = nn.functional.cosine_similarity(alike.normal(), sign * u.sum(1))
        torch.testing.assert_close(cosine, torch.ones(1, dtype=torch.float64))


def test_the_segment_is_halved_in_the_norm() -> None:
    case = toy_case(wrong=())
    captured: list[Oracle] = []

    class Probe(HopSkipJump):
        def init(self, oracle: Oracle):  # type: ignore[no-untyped-def]
            captured.append(oracle)
            return super().init(oracle)

    for norm in ("l2", "linf"):
        Probe(norm=norm, queries=1)(case.model, case.x, case.y)
        oracle = captured[-1]
        far = candidate(oracle, 0, None)
        yes = torch.ones(len(oracle.x), dtype=torch.bool)
        segment = after_look(no_segment(oracle), far, oracle.region.distance(far), yes, yes)
        for k in range(12):
            point, size = middle(oracle, segment)
            torch.testing.assert_close(oracle.region.distance(point), size)
            segment = after_look(segment, point, size, yes if k % 3 else ~yes, yes)
        assert isinstance(segment, Segment)
        assert narrow(segment, 0.01).all()
        assert (segment.high < oracle.region.distance(far)).all()


def test_directions_are_signs_that_differ_by_sample_and_step() -> None:
    model, x, y = affine(3)
    captured: list[Tensor] = []

    class Probe(HopSkipJump):
        def init(self, oracle: Oracle):  # type: ignore[no-untyped-def]
            captured.extend(directions(oracle, step) for step in (0, 0, 1))
            return super().init(oracle)

    Probe(queries=1)(model, x, y)
    first, again, later = captured
    assert torch.equal(first.abs(), torch.ones_like(first))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first[0], first[1])
    assert abs(float(torch.cat(captured).mean())) < 0.2


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InputError, match="expected queries as an integer >= 1, got 0"):
        create_attack("hopskipjump(queries=0)")
    with pytest.raises(InputError, match="expected starts as a tensor of images"):
        HopSkipJump(starts=[1, 2])  # type: ignore[arg-type]
    model, x, y = affine(2)
    with pytest.raises(InputError, match=r"starts of the shape of the images, \(2, 4, 4\), got \(3, 5, 5\)"):
        HopSkipJump(starts=torch.rand(1, 3, 5, 5))(model, x, y)


def test_the_images_to_start_from_stay_out_of_the_spec() -> None:
    assert HopSkipJump(queries=9, starts=torch.ones(1, *SHAPE)).spec == "hopskipjump(queries=9)"
