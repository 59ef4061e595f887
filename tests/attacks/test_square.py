"""The Square attack: its moves, its budget of queries, and batches that hold nothing to attack."""

import pytest
import torch

from advkit.attacks import Square
from advkit.attacks.square.proposals import PROPOSALS, Window, _pyramids, sides
from advkit.core.draws import Draws
from advkit.core.threat import Threat
from advkit.testing import AffineClassifier
from advkit.testing._toys import predicted, toy_case


def region(norm: str, eps: float, shape: tuple[int, ...] = (3, 12, 10)) -> tuple[torch.Tensor, object, Draws]:
    x = torch.rand(6, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, Threat(norm, eps).around(x), Draws(0, torch.arange(6))


def test_a_move_of_linf_changes_one_square_and_always_something() -> None:
    x, around, draws = region("linf", 0.1)
    start = PROPOSALS["linf"].first(around, draws)
    for step in range(1, 30):
        new = PROPOSALS["linf"].next(around, start, Window(4, 4), draws, step)
        moved = (new != start).any(1)  # (6, 12, 10)
        assert bool(moved.flatten(1).any(1).all())
        rows, columns = moved.any(2).sum(1), moved.any(1).sum(1)
        assert int(rows.max()) <= 4
        assert int(columns.max()) <= 4
        assert bool(((new == around.low) | (new == around.high)).all())
    assert not torch.equal(new[0] - x[0], new[1] - x[1])  # each sample has a square of its own


def test_the_squares_reach_every_pixel_to_the_last_row_and_column() -> None:
    _, around, draws = region("linf", 0.1)
    start = PROPOSALS["linf"].first(around, draws)
    moved = [PROPOSALS["linf"].next(around, start, Window(5, 5), draws, step) != start for step in range(1, 60)]
    assert bool(torch.stack(moved).any(0).any(0).any(0).all())  # (steps, 6, 3, 12, 10) -> (12, 10)


def test_a_move_of_l2_spends_the_whole_budget_where_the_range_allows() -> None:
    x, around, draws = region("l2", 0.2)
    middle = around._replace(low=torch.full_like(x, -9), high=torch.full_like(x, 9))
    point = PROPOSALS["l2"].first(middle, draws)
    for step in range(1, 20):
        assert torch.allclose(middle.distance(point), torch.full((6,), 0.2, dtype=torch.float64))
        point = PROPOSALS["l2"].next(middle, point, Window(5, 5), draws, step)


def test_what_the_range_cuts_off_is_spent_elsewhere() -> None:
    x = torch.zeros(6, 1, 12, 10, dtype=torch.float64)  # every negative half is cut off
    around, draws = Threat("l2", 0.5).around(x), Draws(0, torch.arange(6))
    point = PROPOSALS["l2"].first(around, draws)
    for step in range(1, 20):
        assert torch.allclose(around.distance(point), torch.full((6,), 0.5, dtype=torch.float64))
        point = PROPOSALS["l2"].next(around, point, Window(5, 5), draws, step)


def test_the_pyramids_are_the_paper_s() -> None:
    upright, lying = _pyramids(5, 5)
    assert torch.equal(upright.T, lying)
    assert float(upright.norm()) == pytest.approx(1)
    ring = upright[2:] / upright[4, 2]  # 3 x 5, its peak in the second row
    tail = 1 + 1 / 4 + 1 / 9
    assert (ring[1, 2] / ring[1, 1]).item() == pytest.approx(tail / (tail - 1))
    assert (upright[:2] * upright[2:4]).sum() < 0


def test_the_sides_cover_the_share_asked_for() -> None:
    assert sides(torch.zeros(1, 3, 32, 32), 0.8) == Window(29, 29)
    assert sides(torch.zeros(1, 3, 32, 32), 1e-9) == Window(1, 1)
    assert sides(torch.zeros(1, 100), 0.2) == Window(1, 20)


def test_square_keeps_to_its_queries_and_takes_no_gradient() -> None:
    case = toy_case(1, wrong=())
    found = Square(eps=1e-6, queries=30)(case.model, case.x, case.y)
    assert int(found.queries.max()) <= 31
    assert found.gradients.tolist() == [0] * 9


def test_a_batch_that_is_wrong_throughout_is_returned() -> None:
    case = toy_case(2, wrong=tuple(range(9)))
    found = Square(eps=0.1, queries=30)(case.model, case.x, case.y)
    assert torch.equal(found.x_adv, case.x)
    assert found.queries.tolist() == [1] * 9


def test_square_finds_the_corner_of_an_affine_net() -> None:
    model = AffineClassifier.random((1, 4, 4), 2, seed=2)
    x = 0.4 + 0.2 * torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = predicted(model, x)
    nearest, _ = model.nearest(x, y, "linf")
    assert bool(Square(queries=400)(model, x, y, eps=1.1 * nearest).success.all())
    assert not bool(Square(queries=400)(model, x, y, eps=0.99 * nearest).success.any())


def test_square_in_l2_beats_its_first_guess_on_images_larger_than_its_squares() -> None:
    model = AffineClassifier.random((1, 16, 16), 2, seed=3)
    x = 0.3 + 0.4 * torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = predicted(model, x)
    short, long = (
        -(Square(norm="l2", queries=q)(model, x, y, eps=1e-3, stop="never").logits.gather(1, y[:, None]))
        for q in (3, 300)
    )
    assert bool((long > short).all())
