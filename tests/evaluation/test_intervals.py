"""The intervals against scipy, against simulation, and against what they promise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from advkit.core.errors import InputError
from advkit.core.intervals import mcnemar, wilson_interval
from advkit.models import count

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(deadline=None)
@given(counts, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_wilson_equals_scipy(errors_count, confidence):
    errors, count = errors_count
    expected = stats.binomtest(errors, count).proportion_ci(confidence, method="wilson")
    assert wilson_interval(errors, count, confidence=confidence) == pytest.approx(
        (expected.low, expected.high), abs=1e-9
    )


@settings(deadline=None)
@given(counts)
def test_wilson_contains_the_rate_and_mirrors(errors_count):
    errors, count = errors_count
    low, high = wilson_interval(errors, count)
    assert 0 <= low <= errors / count <= high <= 1
    assert low < high
    mirror = wilson_interval(count - errors, count)
    assert (1 - mirror[1], 1 - mirror[0]) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.83])
def test_wilson_covers_the_true_rate_in_95_of_100_samplings(rate):
    generator = torch.Generator().manual_seed(1)
    errors = (torch.rand(20_000, 300, generator=generator) < rate).sum(1)
    ends = torch.tensor([wilson_interval(k, 300) for k in range(301)], dtype=torch.float64)[errors]
    covered = ((ends[:, 0] <= rate) & (rate <= ends[:, 1])).double().mean().item()
    assert covered == pytest.approx(0.95, abs=0.025)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_scipys_binomial_test(first, second):
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_mcnemar_survives_ten_thousand_flips():
    assert mcnemar(0, 10_000) == 0
    assert mcnemar(5_000, 5_000) == 1
    assert mcnemar(4_900, 5_100) == pytest.approx(0.0466, abs=5e-4)


@pytest.mark.parametrize(("errors", "count"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(errors, count):
    with pytest.raises(InputError, match="errors"):
        wilson_interval(errors, count)


def test_impossible_confidence_and_negative_flips_are_refused():
    with pytest.raises(InputError, match="confidence"):
        wilson_interval(1, 2, confidence=1.0)
    with pytest.raises(InputError, match="counts"):
        mcnemar(-1, 2)


@pytest.mark.parametrize("wrong", ["3", None, [3], (1, 2), torch.ones(2)], ids=repr)
def test_what_is_no_number_is_refused(wrong):
    for call in (wilson_interval, mcnemar):
        for both in ((wrong, 5), (2, wrong)):
            with pytest.raises(InputError, match=r"^expected \w+ as a (whole )?number, got "):
                call(*both)
    with pytest.raises(InputError, match="whole number, got float"):
        mcnemar(1.5, 2)
    with pytest.raises(InputError, match="expected number as an integer >= 0, got '850'"):
        count("850")
    assert wilson_interval(torch.tensor(2), torch.tensor(5)) == wilson_interval(2, 5)
