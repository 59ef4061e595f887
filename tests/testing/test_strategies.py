"""The strategies give what they say, and the rest of advkit.testing does without hypothesis."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advkit.attacks import Attack, create_attack
from advkit.core.errors import InputError
from advkit.core.threat import Threat
from advkit.testing import check_attack, list_checks, toy_classifier
from advkit.testing import strategies as own
from advkit.testing._toys import awkward_images

BOUNDS = st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16])


@given(st.data(), own.shapes(), BOUNDS, DTYPES)
def test_images_have_their_shape_type_and_range(
    data: st.DataObject, shape: tuple[int, int, int], bounds: tuple[float, float], dtype: torch.dtype
) -> None:
    x = data.draw(own.images(shape, bounds=bounds, dtype=dtype))
    assert x.shape[1:] == shape
    assert x.dtype == dtype
    assert bool(((x >= bounds[0]) & (x <= bounds[1])).all())


@given(own.images(count=3), own.labels(3, 4), own.goals(3, 4))
def test_counts_are_kept_and_goals_differ_from_the_labels(x: torch.Tensor, y: torch.Tensor, goal: object) -> None:
    assert len(x) == len(y) == 3
    assert bool(((y >= 0) & (y < 4)).all())
    assert goal.sign > 0 or not bool((goal.label == goal.y).any())  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", [0.0, 1.0])
def test_some_images_are_exactly_black_or_white(word: float) -> None:
    assert bool((awkward_images() == word).flatten(1).all(1).any())


@given(st.data(), own.classifiers())
def test_classifiers_answer_with_finite_logits(data: st.DataObject, model: torch.nn.Module) -> None:
    logits = model(data.draw(own.images(dtype=torch.float64, count=2)))
    assert logits.shape[0] == 2
    assert logits.shape[1] >= 2
    assert bool(logits.isfinite().all())


@given(own.broken_classifiers(kinds=("nan",)), own.images(dtype=torch.float64, count=2))
def test_a_net_of_nan_is_refused_by_every_attack(model: torch.nn.Module, x: torch.Tensor) -> None:
    with pytest.raises(InputError, match="NaN"):
        create_attack("fgsm", eps=0.1)(model, x, torch.zeros(2, dtype=torch.int64))


@given(own.attacks())
def test_attacks_come_from_the_registry_and_their_spec_makes_them_again(attack: Attack) -> None:
    assert create_attack(attack.spec) == attack


@given(own.threats())
def test_threats_have_a_radius(threat: Threat) -> None:
    assert threat.eps >= 0


def test_toy_classifiers_are_reproducible_and_spare_the_random_state() -> None:
    state = torch.random.get_rng_state()
    first, second = toy_classifier(seed=3), toy_classifier(seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())


def test_everything_but_the_strategies_works_without_hypothesis() -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None; "
        "from advkit.testing import check_attack; from advkit.attacks import FGSM; "
        "assert check_attack(FGSM(), only=['moves']).ok"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=3600)


def test_a_report_says_what_was_broken_and_why() -> None:
    def no_op(model, x, y, *, eps):
        return x.clone()

    report = check_attack(no_op, raises=False)
    assert not report.ok
    assert {"moves", "fools_a_linear_classifier", "refuses_wrong_input"} <= set(report.broken)
    assert "no image changed at eps" in str(report)
    assert len(report.outcomes) == len(list_checks())


def test_without_hypothesis_the_strategies_say_in_one_line_what_to_install() -> None:
    program = "import sys; sys.modules['hypothesis'] = None; import advkit.testing.strategies"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=3600)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: advkit.testing.strategies needs hypothesis: pip install 'advkit[testing]'"
    )


@given(own.broken_classifiers(kinds=("random",)), own.images(dtype=torch.float64, count=2))
def test_a_net_of_random_logits_answers_differently_each_time(model: torch.nn.Module, x: torch.Tensor) -> None:
    assert not torch.equal(model(x), model(x))


def test_the_code_of_a_broken_promise_repeats_the_call_on_which_it_broke() -> None:
    def too_far(model, x, y, *, eps=0.1, stop="fooled"):
        return (x + 2 * eps).clamp(0, 1)

    report = check_attack(too_far, only=["stays_in_the_ball", "moves"], raises=False)
    (outcome,) = (outcome for outcome in report.outcomes if outcome.name == "stays_in_the_ball")
    names: dict[str, object] = {"attack": too_far}
    with pytest.raises(AssertionError, match="stays_in_the_ball"):
        exec("\n".join(outcome.code.splitlines()[:2]), names)
    exec("\n".join(line for line in outcome.code.splitlines() if "check_attack(" not in line), names)
    found = names["found"]
    assert isinstance(found, torch.Tensor)
    assert found.shape == (9, 2, 4, 4)
    assert f"    >>> {outcome.code.splitlines()[-1]}" in str(report)
    assert [o.code for o in report.outcomes if o.verdict == "kept"] == [""]


def test_an_attack_of_one_radius_is_called_sample_by_sample_where_radii_differ() -> None:
    def scalar(model, x, y, *, eps=0.1):
        return create_attack("fgsm")(model, x, y, eps=float(eps)).x_adv

    checks = ["fools_a_linear_classifier", "never_does_the_impossible", "takes_one_eps_a_sample"]
    report = check_attack(scalar, only=checks, radius_per_sample=False)
    assert [outcome.verdict for outcome in report.outcomes] == ["kept", "kept", "skipped"]
    assert not check_attack(scalar, only=checks, raises=False).ok
