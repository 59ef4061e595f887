"""What attacks on labels share: the first points to try, the way from one to the boundary, the normal there."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from advkit.attacks.parts.decision import (
    APPROACH,
    Segment,
    after_look,
    candidate,
    directions,
    looked,
    middle,
    new_segment,
    no_segment,
)
from advkit.attacks.parts.normal import Estimate, probe
from advkit.core.draws import Draws
from advkit.core.norms import per_row
from advkit.core.threat import Threat

BOUNDS = (-1.0, 3.0)


def rows(*answers: bool) -> Tensor:
    return torch.tensor(answers)


def about(x: Tensor, norm: str = "l2") -> Any:
    """As much of an oracle as these parts ask for."""
    ids = torch.arange(len(x))
    return SimpleNamespace(x=x, region=Threat(norm, torch.inf, BOUNDS).around(x), draws=Draws(0, ids), fooled=ids < 0)


def images(samples: int, *shape: int) -> Tensor:
    return 4 * torch.rand(samples, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1


def segment_to(oracle: Any, point: Tensor, landed: Tensor, share: Tensor | float) -> Segment:
    """A new segment to this point in the rows `landed`."""
    size = oracle.region.distance(point)
    return new_segment(after_look(no_segment(oracle), point, size, landed, landed), landed, share)


def test_looks_go_twice_as_far_each_time_and_at_most_half_the_way() -> None:
    oracle, share = about(images(3, 5)), torch.tensor([0.1, 0.5, 0.5], dtype=torch.float64)
    segment = segment_to(oracle, images(4, 5)[1:], rows(True, True, False), share)
    nearer = []
    for _ in range(5):
        point, size = middle(oracle, segment)
        assert torch.equal(point[2], oracle.x[2])  # no point that fools is known
        torch.testing.assert_close(oracle.region.distance(point)[:2], size[:2])
        nearer.append(1 - size / segment.high)
        segment = after_look(segment, point, size, rows(True, True, True), rows(True, True, False))
    expected = torch.tensor([[0.1, 0.2, 0.4, 0.5, 0.5], [0.5] * 5], dtype=torch.float64)
    torch.testing.assert_close(torch.stack(nearer, 1)[:2], expected)


def test_beyond_a_miss_every_look_halves_what_is_unknown_of_the_way() -> None:
    oracle, every = about(images(4, 5)), rows(True, True, True, True)
    segment = segment_to(oracle, images(5, 5)[1:], every, 0.5)
    segment = after_look(segment, *middle(oracle, segment), ~every, every)
    width = segment.high - segment.low
    source = torch.Generator().manual_seed(1)
    for _ in range(10):
        segment = after_look(segment, *middle(oracle, segment), torch.rand(4, generator=source) < 0.5, every)
        width = width / 2
        torch.testing.assert_close(segment.high - segment.low, width)


def test_an_answer_to_another_question_says_nothing_of_the_segment() -> None:
    oracle = about(images(2, 5))
    before = segment_to(oracle, images(3, 5)[1:], rows(True, True), 0.1)
    after = after_look(before, oracle.x + 0.1, before.high / 3, rows(True, False), rows(False, False))
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    same = new_segment(before, rows(False, False), 0.3)
    assert all(torch.equal(a, b) for a, b in zip(same, before, strict=True))


def test_a_point_beside_the_segment_is_its_new_end_where_it_fools_and_is_nearer() -> None:
    """The rows: both, nearer only, fooling only, neither, and both where nothing was asked beside it."""
    oracle = about(torch.zeros(5, 4, dtype=torch.float64))
    before = segment_to(oracle, torch.ones_like(oracle.x), rows(*[True] * 5), 0.25)._replace(low=oracle.x[:, 0] + 0.1)
    point = torch.tensor([0.5, 0.5, 2.0, 2.0, 0.5], dtype=torch.float64)[:, None].expand(5, 4)
    oracle.fooled, beside = rows(True, False, True, False, True), rows(True, True, True, True, False)
    state: Any = SimpleNamespace(x_adv=point, size=before.high, phase=torch.full((5,), 7), segment=before)
    after, arrived = looked(oracle, state, ~beside & beside, 0.5, 0.01, beside)
    assert after.high.tolist() == [1, 2, 2, 2, 2]
    assert after.hit[:, 0].tolist() == [0.5, 1, 1, 1, 1]
    assert torch.equal(after.low, before.low)
    assert not arrived.any()


def test_the_halving_ends_where_pixels_are_coarser_than_its_tolerance() -> None:
    """What fools is 3 units in the last place away; there is nothing between 2 and 3."""
    unit = 2.0**-11
    oracle = about(torch.full((1, 4), 0.75, dtype=torch.float16), "linf")
    segment = segment_to(oracle, oracle.x + 8 * unit, rows(True), 0.25)
    arrived = rows(False)
    for _ in range(12):
        point, size = middle(oracle, segment)
        oracle.fooled = oracle.region.distance(point) >= 3 * unit
        state: Any = SimpleNamespace(x_adv=point, size=size, phase=torch.full((1,), APPROACH), segment=segment)
        segment, arrived = looked(oracle, state, rows(False), 0.5, 0.01)
    assert arrived
    assert oracle.region.distance(segment.hit) == 3 * unit


def test_the_first_points_tried_are_noise_two_colours_near_grey_and_the_negative() -> None:
    oracle = about(images(12, 3, 8, 8))
    (low, high), kinds = BOUNDS, [candidate(oracle, j, None) for j in range(8)]
    for point in kinds:
        assert ((point >= low) & (point <= high)).all()
    for noise, colours, grey, negative in (kinds[:4], kinds[4:]):
        rest = noise.flatten(1)
        assert (rest.amin(1) < low + 0.2).all()
        assert (rest.amax(1) > high - 0.2).all()
        assert rest.unique().numel() == rest.numel()
        assert ((colours == low) | (colours == high)).all()
        assert (colours == high).flatten(1).double().mean(1).std() > 0.1  # black and white in shares that differ
        assert (grey.flatten(1).amax(1) - grey.flatten(1).amin(1) <= 0.3 * (high - low)).all()
        assert (grey.flatten(1).std(1) > 0.05).all()
        assert grey.flatten(1).mean(1).std() > 0.1
        torch.testing.assert_close(negative, low + high - oracle.x)
    assert not torch.equal(kinds[0], kinds[4])


def test_images_given_are_tried_first_and_the_noise_is_what_it_is_without_them() -> None:
    oracle, starts = about(images(2, 3, 4, 4)), images(5, 3, 4, 4)[2:].float()
    for j, start in enumerate(starts):
        assert torch.equal(candidate(oracle, j, starts), start.double().expand(2, 3, 4, 4))
    for j in range(5):
        assert torch.equal(candidate(oracle, len(starts) + j, starts), candidate(oracle, j, None))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_probe_is_as_far_from_its_point_as_it_is_told(norm: str) -> None:
    x = torch.ones(2, 3, 5, 5, dtype=torch.float64)
    oracle, far = about(x, norm), torch.tensor([0.3, 0.01], dtype=torch.float64)
    around, offset = probe(oracle, x + 0.2, far, directions(oracle, 4))
    torch.testing.assert_close(oracle.region.norm.size(around - x - 0.2), far)
    torch.testing.assert_close(offset.abs(), torch.ones_like(offset))
    torch.testing.assert_close(oracle.region.norm.steepest(offset), oracle.region.norm.steepest(around - x - 0.2))


def test_a_probe_at_the_edge_of_the_range_stays_inside_and_its_direction_too() -> None:
    """Rows in the lowest corner, in the highest and in the middle."""
    point = torch.tensor([*BOUNDS, 1.0], dtype=torch.float64)[:, None].repeat(1, 200)
    around, offset = probe(
        about(point), point, torch.tensor([0.1] * 3, dtype=torch.float64), directions(about(point), 0)
    )
    assert ((around >= BOUNDS[0]) & (around <= BOUNDS[1])).all()
    for row, entries in enumerate(({0, 1}, {0, -1}, {1, -1})):
        assert set(offset[row].round(decimals=6).tolist()) == entries
    delta = torch.tensor([0.1 / 200**0.5] * 3, dtype=torch.float64)
    torch.testing.assert_close(point + per_row(delta, point) * offset, around)


def test_only_rows_that_ask_hear_an_answer_about_the_normal() -> None:
    four, two = torch.full((4,), 4), torch.full((4,), 2)
    before = Estimate(four, two, images(4, 5), images(8, 5)[4:])
    offset = torch.ones(4, 5, dtype=torch.float64)
    after = before.updated(offset, fooled=rows(True, False, True, False), asking=rows(True, True, False, False))
    assert after.asked.tolist() == [5, 5, 4, 4]
    assert after.yes.tolist() == [3, 2, 2, 2]
    assert torch.equal(after.total, torch.cat([before.total[:2] + 1, before.total[2:]]))
    assert torch.equal(after.toward, torch.cat([before.toward[:1] + 1, before.toward[1:]]))
