"""Tests and intervals of the reproductions against scipy, and what they refuse to judge."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advkit.reproduction.significance import mean_interval, paired_t, signs, t_quantile, t_tail
from advkit.reproduction.study import Cell, Claim, Measured
from advkit.reproduction.verdicts import judged

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 30, 999])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 4.3, 12.7])
def test_students_tail_is_scipys(t: float, degrees: int) -> None:
    assert t_tail(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), abs=1e-13, rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 5, 40])
def test_the_quantile_is_scipys(degrees: int) -> None:
    assert t_quantile(0.05, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-8)  # scipy 1.12 errs by 4e-9


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_the_paired_test_is_scipys(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    d = [a - b for a, b in pairs]
    if max(d) - min(d) < 1e-6:
        return
    expected = stats.ttest_rel(first, second)
    assert paired_t(first, second).p == pytest.approx(expected.pvalue, abs=1e-9)
    assert paired_t(first, second).sign == math.copysign(1, expected.statistic) or abs(expected.statistic) < 1e-9


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = [0.0162, 0.0128, 0.0120]
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((low, high))


def test_one_seed_and_equal_differences_judge_nothing() -> None:
    assert math.isnan(paired_t([0.1], [0.2]).p)
    assert math.isnan(paired_t([0.1, 0.2], [0.2, 0.3]).p)
    assert paired_t([0.1, 0.2], [0.1, 0.2]) == (0, 1.0)


def test_the_sign_test_is_the_binomial_one_and_leaves_nan_out() -> None:
    first, second = [1.0, 1.0, 1.0, 0.0, 1.0, math.nan], [0.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    assert signs(first, second) == (1, pytest.approx(stats.binomtest(1, 4).pvalue))


A, B = Cell("t", "a", "error"), Cell("t", "b", "error")


def over(kind: str, first: list[Measured], second: list[Measured]) -> str:
    claim = Claim(sentence="a is smaller", where="t", smaller=A, larger=B, over=kind)
    return judged(claim, {A: first, B: second}).outcome


def test_a_verdict_follows_the_direction_and_the_level() -> None:
    low, high = [Measured(v) for v in (0.010, 0.011, 0.012)], [Measured(v) for v in (0.020, 0.0215, 0.022)]
    assert over("seeds", low, high) == "confirmed"
    assert over("seeds", high, low) == "contradicted"
    assert over("seeds", low[:2], [high[0], Measured(0.011)]) == "open"
    assert over("seeds", low[:1], high[:1]) == "open"


def test_over_images_every_seed_must_speak() -> None:
    right, wrong = Measured(0.0, [0.0] * 20), Measured(1.0, [1.0] * 20)
    nearly = Measured(0.95, [0.0] + [1.0] * 19)
    assert over("images", [right, right], [wrong, nearly]) == "confirmed"
    assert over("images", [wrong, wrong], [right, nearly]) == "open"
    assert over("images", [right, wrong], [wrong, right]) == "open"
    assert over("images", [wrong, nearly], [right, right]) == "contradicted"
