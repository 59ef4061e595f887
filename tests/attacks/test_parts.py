"""The parts that attacks are made of, each against a reference of its own."""

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from advkit.attacks import Noise, create_attack, list_attacks
from advkit.attacks.alma.lagrangian import Lagrangian
from advkit.attacks.lbfgs import minimisation, search_for_c
from advkit.attacks.parts import adam
from advkit.attacks.parts.nearest import nearest, onto_boundary
from advkit.attacks.parts.searches import between, first_search
from advkit.attacks.spatial.motion import grid_point
from advkit.attacks.superdeepfool import newton
from advkit.core.best_points import noise_floor
from advkit.core.door import check_between, check_positive
from advkit.core.errors import InputError
from advkit.core.norms import get_norm
from advkit.core.threat import Region, Threat


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_adam_is_torch_s_in_every_row_at_its_own_clock() -> None:
    rows = [torch.nn.Parameter(numbers(5, seed=r)) for r in range(3)]
    theirs = [torch.optim.Adam([row], lr=0.01 * (r + 1)) for r, row in enumerate(rows)]
    x, lr = torch.stack([row.detach().clone() for row in rows]), torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64)
    ours, k = adam.at_rest(x), torch.zeros(3, dtype=torch.int64)
    for i in range(30):
        if i == 12:  # the second row begins anew
            again = torch.tensor([False, True, False])
            k = torch.where(again, 0, k)
            ours = adam.Adam(*(torch.where(again[:, None], 0.0, part) for part in ours))
            theirs[1] = torch.optim.Adam([rows[1]], lr=0.02)
        gradient = x.sin() + 0.1 * numbers(3, 5, seed=100 + i)
        k, ours = k + 1, ours.updated(gradient)
        x = x - ours.move(k, lr)
        for row, optimiser, g in zip(rows, theirs, gradient, strict=True):
            row.grad = g.clone()
            optimiser.step()
        torch.testing.assert_close(x, torch.stack([row.detach() for row in rows]))


def test_the_penalty_s_slope_is_the_derivative_of_p2() -> None:
    y = torch.linspace(-3, 3, 41, dtype=torch.float64).requires_grad_()
    for mu, rho in ((1.0, 1.0), (0.3, 5.0), (4.0, 0.2)):
        above = mu * y + mu * rho * y**2 + rho**2 * y**3 / 6
        below = mu * y / (1 - rho * y.clamp(max=0))
        (slope,) = torch.autograd.grad(torch.where(y >= 0, above, below).sum(), y)
        one = torch.ones_like(slope)
        torch.testing.assert_close(Lagrangian(mu * one, rho * one, one).slope(y.detach()), slope)


def test_the_penalty_grows_where_nothing_was_met_and_the_constraint_did_not_fall() -> None:
    one = torch.ones(3, dtype=torch.float64)
    rule = {"alpha": 0.5, "every": 2, "tau": 0.9, "gamma": 2.0}
    start = Lagrangian(one, one, 0 * one).updated(2 * one, one < 0, 0, **rule)
    assert torch.equal(start.before, 2 * one)
    assert torch.equal(start.mu, one)
    y, met = torch.tensor([1.9, 1.9, 1.7], dtype=torch.float64), torch.tensor([False, True, False])
    found = start.updated(y, met, 1, **rule)
    assert found.rho.tolist() == [2, 1, 1]
    assert torch.equal(found.before, y)
    assert found.mu[0] > found.mu[1] > found.mu[2]
    torch.testing.assert_close(found.mu, (one + Lagrangian(one, found.rho, y).slope(y)) / 2)
    assert torch.equal(start.updated(y, met, 2, **rule).rho, one)  # no look


def test_a_bracket_closes_upon_the_value_sought() -> None:
    sought = 10 ** (3 * numbers(20))
    c, low, high = torch.ones(20).double(), torch.zeros(20).double(), torch.full((20,), torch.inf).double()
    for _ in range(40):
        low, high = torch.where(c < sought, c, low), torch.where(c < sought, high, c)
        c = between(low, high, 10)
        assert ((c > low) & (c < high)).all()
    torch.testing.assert_close(c, sought, rtol=1e-6, atol=0)


def test_a_search_ends_at_the_first_look_at_which_its_loss_stands_still() -> None:
    """Looks every third step: row 0 falls by 2 % from look to look, row 1 by .4 %, row 2 grows, row 3 halves."""
    fall = torch.tensor([0.98, 0.996, 1.01, 0.5], dtype=torch.float64) ** (1 / 3)
    search, last = first_search(torch.ones(4).double()), torch.full((4,), -1)
    for k in range(12):
        search, over = search.updated(fall**k, torch.tensor([k == 5, False, False, False]), 12, 3)
        last = torch.where((last < 0) & over, k, last)
    assert last.tolist() == [11, 3, 3, 11]  # the first look has nothing to compare with; 12 steps are the most
    assert search.hit.tolist() == [True, False, False, False]


def test_the_way_back_ends_just_beyond_a_curved_boundary() -> None:
    """The lead is sinh(3 p) - s at p (1, 0, ...): rows 0 and 1 cross it on the way, row 2 has not begun."""
    s, x = torch.tensor([0.5, 6.0, 1.0], dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    point, begins = torch.zeros_like(x), torch.tensor([True, True, False])
    point[:, 0] = 1
    oracle: Any = SimpleNamespace(x=x, fooled=torch.ones(3, dtype=torch.bool), answer=torch.ones(3, 2).double())
    back, ended = newton.no_line_search(oracle), ~begins
    for _ in range(8):
        p = point[:, 0]
        lead, gradient = (3 * p).sinh() - s, torch.zeros_like(x)
        gradient[:, 0] = 3 * (3 * p).cosh()
        oracle.fooled = lead > 0
        back = back.after(oracle, point, begins, lead, gradient)
        assert ((back.low <= back.share) & (back.share <= back.high)).all()
        ended = ended | back.found
        point = torch.where(ended[:, None], point, back.point(x))
    assert ended.all()
    assert back.steps.tolist() == [8, 8, 0]
    torch.testing.assert_close(point[:2, 0], s[:2].asinh() / 3, rtol=1e-6, atol=0)
    assert (((3 * point[:2, 0]).sinh() - s[:2]) > 0).all()


def test_the_way_back_knows_the_nearest_point_that_fools_and_the_farthest_that_does_not() -> None:
    """The lead is atan(30 (p - s)), Newton's method alone would leave the way; row 2 fools nowhere on it."""
    s, x = torch.tensor([0.1, 0.4, 1.5], dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    point, every = torch.zeros_like(x), torch.ones(3, dtype=torch.bool)
    point[:, 0] = 1
    oracle: Any = SimpleNamespace(x=x, fooled=every, answer=torch.ones(3, 2).double())
    back, low, high, ended = newton.no_line_search(oracle), 0 * s, 0 * s + 1, ~every
    for _ in range(14):
        p, gradient = point[:, 0], torch.zeros_like(x)
        gradient[:, 0] = 30 / (1 + (30 * (p - s)) ** 2)
        oracle.fooled = p > s
        back = back.after(oracle, point, every, (30 * (p - s)).atan(), gradient)
        low, high = torch.where(oracle.fooled, low, p.maximum(low)), torch.where(oracle.fooled, p.minimum(high), high)
        assert torch.equal(back.low[:2], low[:2])
        assert torch.equal(back.high[:2], high[:2])
        ended = ended | back.found
        point = back.point(x)
    assert ended.tolist() == [True, True, False]
    assert back.steps.tolist() == [14, 14, 0]
    torch.testing.assert_close(point[:, 0], torch.tensor([0.1, 0.4, 0.0], dtype=torch.float64), rtol=1e-6, atol=0)
    assert (low[:2] > 0).all()  # both had a miss


def test_a_duel_without_gradient_has_no_boundary() -> None:
    gradients = torch.zeros(2, 2, 3, dtype=torch.float64)
    gradients[0, 1, 0] = 2
    lead = torch.tensor([[0.0, -4.0], [0.0, -4.0]], dtype=torch.float64)
    found = nearest(get_norm("l2"), lead, gradients)
    assert (found.lead[0], found.slope[0]) == (-4, 2)
    oracle: Any = SimpleNamespace(region=Threat("l2").around(lead), answer=lead)
    move = onto_boundary(oracle, lead, gradients, 0.02)
    assert move[0, 0] >= 2
    assert not move[1].any()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_move_onto_a_boundary_clears_what_rounding_may_feign_and_goes_no_farther(norm: str) -> None:
    """A lead of the latest point before the boundary, on it, and beyond it."""
    lead, answer = torch.tensor([[-1e-5], [0.0], [0.5]], dtype=torch.float64), torch.full((3, 2), 100.0)
    gradients, feigned = numbers(3, 1, 6), noise_floor(answer).double()
    oracle: Any = SimpleNamespace(region=Threat(norm).around(torch.zeros(3, 6)), answer=answer)
    gained = (gradients[:, 0] * onto_boundary(oracle, lead, gradients, 0.02)).sum(1)
    assert ((lead[:, 0] + gained) > feigned).all()
    assert (gained < -1.1 * lead[:, 0].clamp(max=0) + 3 * feigned).all()


def test_the_grid_has_every_combination_once_the_last_running_fastest() -> None:
    values = {1: [0.0], 2: [-1.0, 1.0], 3: [-1.0, 0.0, 1.0]}
    expected = list(product(values[3], values[1], values[2]))
    assert [tuple(grid_point(i, (3, 1, 2))) for i in range(6)] == expected


def region(rows: int, entries: int) -> Region:
    """Around points in [0, 1]."""
    x = torch.rand(rows, entries, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return Threat("l2", torch.inf, (0.0, 1.0)).around(x)


@pytest.mark.parametrize("squared", [True, False])
def test_a_descent_ends_where_scipy_s_does(squared: bool) -> None:
    """A convex quadratic and c times the length, whose minimum touches the box."""
    rows, entries = 4, 6
    b, feasible = minimisation.LENGTHS[squared], region(rows, entries)
    space = minimisation.unit_box(feasible)
    A = numbers(rows, entries, entries, seed=1)
    A = A @ A.mT / entries + 0.3 * torch.eye(entries, dtype=torch.float64)
    q, c = 2 * numbers(rows, entries, seed=2), torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64)

    def look(point: Tensor) -> minimisation.Iterate:
        gradient = (A @ point[:, :, None]).squeeze(2) + q
        loss = ((gradient + q) * point).sum(1) / 2
        return space.inside(point, -loss, -gradient, answer)

    answer = torch.zeros(rows, 2)
    now, trial = minimisation.first_descent(space, answer, 5, b, 300), space.x
    before = torch.full((rows,), torch.inf, dtype=torch.float64)
    for _ in range(300):
        now, accepted, _ = now.updated(b, c, look(trial), 1e-12)
        now, ahead = now.trial(space, b, c, accepted)
        trial = space.outside(ahead, feasible)
        after = now.now.loss + c * b.of(now.now.point - space.x)
        assert (after <= before + 1e-12).all()
        before = after
    found = now.now.point
    assert ((found == 0) | (found == 1)).any()
    for r in range(rows):

        def value(p: np.ndarray, r: int = r) -> float:
            point = torch.from_numpy(p)
            size = (point - space.x[r]).norm()
            return float(point @ A[r] @ point / 2 + q[r] @ point + c[r] * (size**2 if squared else size))

        best = minimize(value, found[r].numpy() * 0.5 + 0.25, bounds=[(0, 1)] * entries, tol=1e-14)
        assert value(found[r].numpy()) <= best.fun + 1e-6


def test_the_search_for_c_ends_at_the_largest_that_hits() -> None:
    sought = torch.tensor([0.02, 0.7, 30.0], dtype=torch.float64)
    search, every = search_for_c.first_round(torch.ones(3, dtype=torch.float64)), torch.ones(3, dtype=torch.bool)
    search, leap = search.after(every, search.c <= sought, 15, 4)
    assert leap.tolist() == [True, True, False]  # nothing has hit yet
    for _ in range(13):
        search, leap = search.after(every, search.c <= sought, 15, 4)
    assert not leap.any()
    assert (search.hit <= sought).all()
    assert (search.miss > sought).all()
    assert (search.miss / search.hit < 1.05).all()
    last = torch.where(search.c <= sought, search.c, search.hit)
    search, leap = search.after(every, search.c <= sought, 15, 4)  # the round's last
    assert leap.all()
    assert torch.equal(search.c, last)
    assert (search.hit == 0).all()
    assert torch.isinf(search.miss).all()
    same, none = search.after(~every, every, 15, 4)
    assert all(torch.equal(a, b) for a, b in zip(same, search, strict=True))
    assert not none.any()


def test_ten_times_the_first_weight_of_a_linear_loss_is_where_its_minimiser_spends_it() -> None:
    """Of c r^2 + J - |g| r, a move r against g."""
    loss, gradient = torch.tensor([0.3, 7.0], dtype=torch.float64), numbers(2, 5)
    c = 10 * search_for_c.first_round(torch.zeros(2, dtype=torch.float64)).started(loss, gradient, loss).c
    slope = gradient.norm(dim=1)
    torch.testing.assert_close(loss - slope * (slope / (2 * c)), 0 * loss)


def test_a_first_weight_that_is_given_is_the_first_weight() -> None:
    given = torch.tensor([1e-12, 3.0, 0.0], dtype=torch.float64)
    started = search_for_c.first_round(given).started(torch.ones(3, dtype=torch.float64), numbers(3, 5), torch.ones(3))
    assert torch.equal(started.c[:2], given[:2])
    assert started.c[2] > 0


def test_an_attack_without_steps_says_so() -> None:
    for name in list_attacks():
        attack = create_attack(name)
        if attack.total_steps == 0:
            assert not attack.starts_at_x
            with pytest.raises(AssertionError, match="makes no step"):
                attack.step(None, None, 0)  # type: ignore[arg-type]
    assert Noise(eps=0.1).total_steps == 0


def test_numbers_are_held_to_their_range() -> None:
    check_positive("c", None, optional=True)
    check_between("share", 1, 0, 1)
    for value in (-0.1, 1.1, "1", True, None, float("nan")):
        with pytest.raises(InputError, match="expected share as a number from 0 to 1, got"):
            check_between("share", value, 0, 1)
    with pytest.raises(InputError, match="expected share as a number above 0 and below 1, got 1"):
        check_between("share", 1, 0, 1, ends=False)
    with pytest.raises(InputError, match="expected c as a number > 0, got None"):
        check_positive("c", None)
