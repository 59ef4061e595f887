"""Goals and losses against closed forms, and what must leave them unchanged."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import AdvkitWarning, InputError, UnknownNameError
from advkit.core.goals import Goal, leads, resolve, targeted, untargeted
from advkit.core.losses import LOSSES as ALL
from advkit.core.losses import get_loss
from advkit.testing.strategies import goals

LOSSES = {name: loss for name, loss in ALL.items() if name != "kl_to_clean"}  # it asks for the clean logits


LOGITS = torch.tensor([[1.0, 3.0, 2.0, -1.0], [4.0, 0.0, 4.0, 1.0]], dtype=torch.float64)
Y = torch.tensor([1, 0])
TARGET = torch.tensor([2, 3])


def logits_of(seed: int, count: int, classes: int) -> Tensor:
    return 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_y_leads_each_class_by_its_logit_less_theirs_and_the_likeliest_by_the_margin() -> None:
    found = leads(LOGITS.half(), Y)
    assert found.dtype == torch.float32
    for i, y in enumerate(Y.tolist()):
        assert found[i, y] == torch.inf
        assert all(found[i, k] == LOGITS[i, y] - LOGITS[i, k] for k in range(LOGITS.shape[1]) if k != y)
    assert torch.equal(leads(LOGITS, Y).amin(1), -untargeted(Y).margin(LOGITS))


def test_the_margin_is_the_lead_of_the_goal() -> None:
    assert untargeted(Y).margin(LOGITS).tolist() == [-1, 0]  # a tie is not reached
    assert targeted(TARGET, Y).margin(LOGITS).tolist() == [-1, -3]


def test_cross_entropy_in_closed_form() -> None:
    away = get_loss("cross_entropy", untargeted(Y), 4)(untargeted(Y), LOGITS)
    assert torch.allclose(away, LOGITS.logsumexp(1) - LOGITS[[0, 1], Y])
    goal = targeted(TARGET, Y)
    assert torch.allclose(
        get_loss("cross_entropy", goal, 4)(goal, LOGITS), LOGITS[[0, 1], TARGET] - LOGITS.logsumexp(1)
    )


def test_dlr_in_closed_form() -> None:
    # Croce and Hein 2020, equations 6 and 7, for z = (1, 3, 2, -1), y = 1, t = 2
    assert float(LOSSES["dlr"](untargeted(Y), LOGITS)[0]) == pytest.approx(-(3 - 2) / (3 - 1))
    assert float(LOSSES["dlr"](targeted(TARGET, Y), LOGITS)[0]) == pytest.approx((2 - 3) / (3 - (1 - 1) / 2))


@given(st.data(), st.integers(2, 7), st.integers(1, 5), st.sampled_from(sorted(LOSSES)), st.integers(0, 999))
def test_losses_and_margins_do_not_see_a_constant(
    data: st.DataObject, classes: int, count: int, loss: str, seed: int
) -> None:
    goal, logits = data.draw(goals(count, classes)), logits_of(seed, count, classes)
    for constant in (-100.0, 1e3):
        assert torch.allclose(goal.margin(logits + constant), goal.margin(logits), atol=1e-9)
        if not (loss == "dlr" and classes < goal.ranks):
            assert torch.allclose(LOSSES[loss](goal, logits + constant), LOSSES[loss](goal, logits), atol=1e-9)


@given(st.data(), st.integers(4, 7), st.integers(1, 5), st.sampled_from(sorted(LOSSES)), st.integers(0, 999))
def test_losses_and_margins_follow_a_permutation_of_the_classes(
    data: st.DataObject, classes: int, count: int, loss: str, seed: int
) -> None:
    goal, logits = data.draw(goals(count, classes)), logits_of(seed, count, classes)
    order = torch.tensor(data.draw(st.permutations(range(classes))))
    old = order.argsort()
    renamed = Goal(old[goal.label], old[goal.y], goal.sign)
    assert torch.equal(renamed.margin(logits[:, order]), goal.margin(logits))
    assert torch.allclose(LOSSES[loss](renamed, logits[:, order]), LOSSES[loss](goal, logits), atol=1e-12)


@given(st.data(), st.integers(2, 7), st.integers(1, 5), st.integers(0, 999))
def test_a_positive_margin_is_the_argmax(data: st.DataObject, classes: int, count: int, seed: int) -> None:
    goal, logits = data.draw(goals(count, classes)), logits_of(seed, count, classes)
    leads = logits.argmax(1) == goal.label
    assert torch.equal(goal.margin(logits) > 0, ~leads if goal.sign > 0 else leads)


@given(st.data(), st.integers(2, 7), st.sampled_from(["cross_entropy", "margin"]), st.integers(0, 999))
def test_a_loss_rises_with_the_logit_of_its_goal(data: st.DataObject, classes: int, loss: str, seed: int) -> None:
    goal, logits = data.draw(goals(3, classes)), logits_of(seed, 3, classes).requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[loss](goal, logits).sum(), logits)
    toward = gradient.gather(1, goal.label[:, None]).squeeze(1) * -goal.sign
    assert bool((toward >= -1e-12).all())


@given(st.data(), st.integers(4, 7), st.sampled_from(sorted(LOSSES)), st.integers(0, 999))
def test_losses_are_one_number_a_sample(data: st.DataObject, classes: int, loss: str, seed: int) -> None:
    goal, logits = data.draw(goals(5, classes)), logits_of(seed, 5, classes)
    whole = LOSSES[loss](goal, logits)
    assert whole.shape == (5,)
    for i in range(5):
        one = Goal(goal.label[i : i + 1], goal.y[i : i + 1], goal.sign)
        assert torch.allclose(LOSSES[loss](one, logits[i : i + 1]), whole[i : i + 1], atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_losses_are_computed_in_float32_or_better(loss: str, dtype: torch.dtype) -> None:
    goal, low = untargeted(Y), LOGITS.to(dtype)
    assert LOSSES[loss](goal, low).dtype == torch.float32
    assert torch.allclose(LOSSES[loss](goal, low), LOSSES[loss](goal, low.float()))
    assert LOSSES[loss](goal, LOGITS).dtype == torch.float64


@pytest.mark.parametrize(("goal", "least"), [(untargeted(Y), 3), (targeted(TARGET, Y), 4)])
def test_dlr_gives_way_to_the_margin_below_its_number_of_classes_and_says_so(goal: Goal, least: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_loss("dlr", goal, least) is LOSSES["dlr"]
    with pytest.warns(AdvkitWarning, match=f"dlr needs {least} classes"):
        assert get_loss("dlr", goal, least - 1) is LOSSES["margin"]


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'margin'"):
        get_loss("margins", untargeted(Y), 4)


def draws(count: int) -> Draws:
    return Draws(0, torch.arange(count))


def test_the_runner_up_is_the_likeliest_class_other_than_y() -> None:
    goal = resolve("runner_up", torch.tensor([1, 1]), LOGITS, draws(2))
    assert goal.label[0] == 2
    assert goal.label[1] in (0, 2)
    assert goal.sign == -1


def test_random_targets_are_every_other_class_equally_often() -> None:
    y = torch.arange(4).repeat(500)
    goal = resolve("random", y, torch.zeros(2000, 4), draws(2000))
    assert not bool((goal.label == y).any())
    shifts = (goal.label - y) % 4
    assert bool(((shifts.bincount(minlength=4)[1:] - 2000 / 3).abs() < 100).all())


def test_a_class_is_the_target_of_all() -> None:
    assert resolve(3, Y, LOGITS, draws(2)).label.tolist() == [3, 3]
    assert resolve(TARGET, Y, LOGITS, draws(2)).label.tolist() == TARGET.tolist()


@pytest.mark.parametrize("target", [4, -1, torch.tensor([0, 4])])
def test_a_target_out_of_range_is_refused(target: int | Tensor) -> None:
    with pytest.raises(InputError, match="target out of range"):
        resolve(target, Y, LOGITS, draws(2))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_clearing_by_a_lead_is_what_the_margin_says(sign):
    logits = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    label = torch.arange(200) % 4
    goal = Goal(label, label, sign)
    for by in (0.0, 0.3, torch.linspace(0, 2, 200)):
        assert goal.clears(logits, by).equal(goal.margin(logits) > by)
        assert 10 < int(goal.clears(logits, by).sum()) < 190
