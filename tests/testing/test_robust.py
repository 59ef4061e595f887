"""assert_robust: three outcomes by the interval, the number of images that decides, and whose errors count."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from advkit import testing
from advkit.attacks import FGSM, LBFGS
from advkit.core.errors import InputError, UnknownNameError
from advkit.evaluation import evaluate, wilson_interval
from advkit.testing import AffineClassifier, InconclusiveError, NotRobustError, Robustness
from advkit.testing._record import collecting
from advkit.testing.robust import decisive_count

MODEL = AffineClassifier.random((1, 4, 4), 2)
X = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = MODEL(X).argmax(1).detach()
NEAREST, _ = MODEL.nearest(X, Y, "linf")


def assert_robust(*args: Any, **options: Any) -> Robustness:
    """As it is, but its figures stay out of the table at the end of this suite's own run."""
    with collecting():
        return testing.assert_robust(*args, **options)


def radius(share: float) -> float:
    """The linf radius at which this share of X is wrong."""
    return float(NEAREST.sort().values[round(share * len(X)) - 1]) * (1 + 1e-6)


def found(errors: int, count: int, limit: float) -> Robustness:
    return Robustness("fgsm", "linf", 0.1, count, 0, errors, limit, 0.95)


@given(st.integers(1, 500), st.data(), st.floats(0, 1))
def test_the_verdict_is_the_side_of_the_limit_on_which_the_interval_lies(
    count: int, data: st.DataObject, limit: float
) -> None:
    errors = data.draw(st.integers(0, count))
    low, high = wilson_interval(errors, count)
    verdict = found(errors, count, limit).verdict
    assert (verdict == "passes") == (high <= limit)
    assert (verdict == "fails") == (low > limit)
    assert verdict in ("passes", "fails", "inconclusive")


@given(st.integers(1, 40), st.data(), st.floats(0.01, 0.99))
def test_the_decisive_count_decides_and_half_of_it_does_not(count: int, data: st.DataObject, limit: float) -> None:
    errors = data.draw(st.integers(0, count))
    needed = decisive_count(errors / count, limit)
    if math.isinf(needed):
        assert errors / count == limit
        return
    scale = math.ceil(needed / count)  # the same rate on at least as many images
    assert found(errors * scale, count * scale, limit).verdict != "inconclusive"
    if scale > 2:
        half = (scale - 1) // 2
        assert found(errors * half, count * half, limit).verdict == "inconclusive"


@pytest.mark.parametrize("error", [0.0, 0.3, 1.0])
def test_a_limit_of_zero_is_never_shown_and_one_of_one_always_holds(error: float) -> None:
    assert found(round(100 * error), 100, 1.0).verdict == "passes"
    assert found(round(100 * error), 100, 0.0).verdict == ("inconclusive" if error == 0 else "fails")
    assert decisive_count(0.0, 0.0) == math.inf
    assert decisive_count(1.0, 1.0) == 1


def test_the_three_outcomes() -> None:
    eps = radius(0.3)
    passed = assert_robust(MODEL, X, Y, attack=FGSM(), eps=eps, max_error=0.4)
    assert (passed.adversarial_errors, passed.clean_errors, passed.count) == (60, 0, 200)
    with pytest.raises(NotRobustError, match=r"30.0% \(95% interval 24.1% to 36.7%\) under fgsm.*200 images") as failed:
        assert_robust(MODEL, X, Y, attack="fgsm", eps=eps, max_error=0.2)
    assert not isinstance(failed.value, InconclusiveError)
    with pytest.raises(InconclusiveError, match="about 3,480 images would decide") as undecided:
        assert_robust(MODEL, X, Y, attack="fgsm", eps=eps, max_error=0.285)
    assert undecided.value.robustness.decisive_count == 3480
    assert assert_robust(MODEL, X, Y, attack="fgsm", eps=eps, max_error=0.285, inconclusive="pass").adversarial_errors
    with pytest.raises(pytest.skip.Exception, match="inconclusive"):
        assert_robust(MODEL, X, Y, attack="fgsm", eps=eps, max_error=0.285, inconclusive="skip")
    with pytest.raises(InconclusiveError, match="no number of images decides"):
        assert_robust(MODEL, X, Y, attack="fgsm", eps=eps, max_error=0.3)


@pytest.mark.parametrize("spec", ["fgsm", "pgd(steps=3)", "noise"])
def test_the_figures_are_those_of_evaluate(spec: str) -> None:
    from advkit.attacks import create_attack

    y = Y.clone()
    y[::10] = 1 - y[::10]
    attack = create_attack(spec, eps=0.03)
    ours = assert_robust(MODEL, X, y, attack=attack, max_error=1.0, batch_size=64, seed=2)
    report = evaluate(MODEL, (X, y), [attack], seed=2)
    assert ours.clean_error == report.clean_error
    assert ours.adversarial_error == report.adversarial_error
    assert ours.interval == pytest.approx(wilson_interval(ours.adversarial_errors, 200))


def test_a_minimal_attack_counts_within_the_radius() -> None:
    nearest, _ = MODEL.nearest(X, Y, "l2")
    eps = float(nearest.median())
    share = float((nearest <= eps).double().mean())
    ours = assert_robust(MODEL, X, Y, attack=LBFGS(), eps=eps * 1.01, max_error=1.0)
    assert ours.adversarial_error == pytest.approx(share, abs=0.05)
    with pytest.raises(InputError, match="give eps="):
        assert_robust(MODEL, X, Y, attack=LBFGS(), max_error=1.0)


def test_the_radius_may_be_the_attacks_own_also_inside_a_wrapper() -> None:
    by_call = assert_robust(MODEL, X, Y, "pgd(steps=3)", eps=0.03, max_error=1.0)
    for spec in ("pgd(steps=3, eps=0.03)", "pgd(steps=3, eps=0.03, restarts=2)"):
        own = assert_robust(MODEL, X, Y, spec, max_error=1.0)
        assert own.eps == 0.03
        assert own.adversarial_errors >= by_call.adversarial_errors


def test_the_model_is_judged_in_eval_mode_and_left_in_its_own() -> None:
    net = nn.Sequential(nn.Dropout(0.9), MODEL).train()
    state = torch.random.get_rng_state()
    assert assert_robust(net, X, Y, attack="fgsm", eps=0.0, max_error=1.0).clean_errors == 0
    assert net.training
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(p.grad is None for p in net.parameters())


def far(model: Any, x: Tensor, y: Tensor, *, eps: float) -> Tensor:
    return (x + 2 * eps).clamp(0, 1)


def boastful(model: Any, x: Tensor, y: Tensor, *, eps: float) -> Any:
    class Answer:
        x_adv, success = x.clone(), torch.ones(len(x), dtype=torch.bool)

    return Answer


def test_what_an_attack_says_of_itself_does_not_count() -> None:
    assert assert_robust(MODEL, X, Y, attack=boastful, eps=0.1, max_error=1.0).adversarial_errors == 0
    with pytest.raises(InputError, match=r"linf distance 0\.2, eps is 0\.1"):
        assert_robust(MODEL, X, Y, attack=far, eps=0.1, max_error=1.0)
    with pytest.raises(InputError, match="the bounds are"):
        assert_robust(MODEL, X, Y, attack=lambda model, x, y, bounds: x - 2, eps=9.0, max_error=1.0)


def test_an_image_that_is_wrong_already_stays_an_error_whatever_the_attack_makes_of_it() -> None:
    def heal(model: Any, x: Tensor, y: Tensor, *, eps: float) -> Tensor:
        return torch.stack([X[label == Y][0] for label in y])

    y = Y.clone()
    y[::10] = 1 - y[::10]
    healed = assert_robust(MODEL, X, y, heal, eps=1.0, max_error=1.0)
    assert (healed.clean_errors, healed.adversarial_errors) == (20, 20)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="max_error"):
        assert_robust(MODEL, X, Y, attack="fgsm", eps=0.1, max_error=30)
    with pytest.raises(InputError, match="eps"):
        assert_robust(MODEL, X, Y, max_error=0.3)
    with pytest.raises(UnknownNameError, match="inconclusive"):
        assert_robust(MODEL, X, Y, eps=0.1, max_error=0.3, inconclusive="ignore")
    with pytest.raises(InputError, match="at least one image"):
        assert_robust(MODEL, X[:0], Y[:0], eps=0.1, max_error=0.3)
    with pytest.raises(InputError, match="labels"):
        assert_robust(MODEL, X, Y + 2, eps=0.1, max_error=0.3)
    with pytest.raises(InputError, match="expected confidence as a number above 0 and below 1, got 'a'"):
        assert_robust(MODEL, X, Y, eps=0.1, max_error=0.3, confidence="a")
    with pytest.raises(InputError, match="expected batch_size as an integer >= 1, got -1"):
        assert_robust(MODEL, X, Y, eps=0.1, max_error=0.3, batch_size=-1)
    with pytest.raises(InputError, match=r"returned shape \(3, 1, 4, 4\) for images \(200, 1, 4, 4\)"):
        assert_robust(MODEL, X, Y, lambda model, x, y: x[:3], eps=0.1, max_error=0.3)


def test_figures_are_noted_for_the_summary_also_where_the_assertion_fails() -> None:
    with collecting() as figures:
        testing.assert_robust(MODEL, X, Y, attack="fgsm", eps=0.0, max_error=0.5)
        with pytest.raises(NotRobustError):
            testing.assert_robust(MODEL, X, Y, attack="fgsm", eps=1.0, max_error=0.5)
    assert [(row["adversarial_error"], row["verdict"]) for row in figures] == [(0.0, "passes"), (1.0, "fails")]
    assert {type(value) for row in figures for value in row.values()} <= {str, float, int}
