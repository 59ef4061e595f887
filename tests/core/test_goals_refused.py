"""A y that a goal cannot judge is one line: a wrong verdict in silence would be a false robustness."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit import evaluate, goals
from advkit.attacks import FMN, PGD, Attack, BrendelBethge, Square, masked
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.goals import Goal, untargeted

X = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def linear(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, outputs))


class Maps(nn.Module):
    """Three classes for each of the four pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, 1 - x, 0.2 * x], 1)


@pytest.mark.parametrize(("goal", "shape"), [(goals.one_logit(), (3,)), (goals.multi_label(), (3, 2))])
def test_signs_are_judged_by_zeros_and_ones_alone(goal: Any, shape: tuple[int, ...]) -> None:
    model = linear(1 if len(shape) == 1 else 2)
    y = torch.ones(shape, dtype=torch.int64)
    for fine in (y, y.float(), y.bool(), y * 0):
        PGD(eps=0.1, steps=1)(model, X, fine, goal=goal)
    for bad in (y + 1, -y, y * 0.5, y * torch.nan):
        for ask in (PGD(eps=0.1, steps=1), lambda m, x, y, goal: evaluate(m, (x, y), [], goal=goal)):
            with pytest.raises(InputError, match=rf"expected y as 0 or 1 for {goal.spec}"):
                ask(model, X, bad, goal=goal)
    with pytest.raises(InputError, match="expected y"):
        PGD(eps=0.1, steps=1)(model, X, torch.ones(3, 5), goal=goal)


def test_a_regression_is_judged_by_finite_numbers_in_their_places() -> None:
    goal, wide, narrow = goals.regression(0.1), linear(3), linear(1)
    y = wide(X).detach()
    assert not bool((goal.bind(untargeted(y)).margin(wide(X)) > 0).any())
    for model, bad, says in (
        (linear(2), torch.rand(3, 4), "outputs' shape"),
        (wide, torch.rand(3, 3, 2), "outputs' shape"),
        (linear(4), torch.rand(3, 2, 2), "outputs' shape"),  # as many numbers, in other places
        (
            wide,
            torch.full((3, 3), torch.nan),
            "finite numbers for regression, got NaN or infinity in 3 of 3",
        ),
        (wide, torch.full((3, 3), torch.inf), "finite"),
    ):
        with pytest.raises(InputError, match=says):
            PGD(eps=0.1, steps=1)(model, X, bad, goal=goal)
    flat = narrow(X).detach()
    for fine in (flat, flat[:, 0]):
        assert not bool((goal.bind(untargeted(fine)).margin(narrow(X)) > 0).any())


def test_the_transpose_of_a_batch_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected y of the outputs' shape \(3, 2\)"):
        goals.regression(0.1).bind(untargeted(torch.rand(2, 3))).margin(torch.rand(3, 2))


@pytest.mark.parametrize("label", [255, -1, 3])
def test_pixels_without_a_class_are_refused_or_left_out(label: int) -> None:
    maps = Maps()
    y = maps(X).argmax(1)
    y[:, 0, 0] = label
    with pytest.raises(InputError, match=r"labels out of range: .* 3 classes .*ignore=255"):
        PGD(eps=0.1, steps=1)(maps, X, y, goal=goals.segmentation(0.5))
    goal = goals.segmentation(0.5, ignore=label)
    found = PGD(eps=0.4, steps=5)(maps, X, y, goal=f"segmentation(share=0.5, ignore={label})")
    wrong = ((maps(found.x_adv).argmax(1) != y) & (y != label)).flatten(1).sum(1)
    assert torch.equal(found.success, wrong / 3 > 0.5)
    assert bool(found.success.any())
    assert goal.spec == f"segmentation(share=0.5, ignore={label})"


def test_a_share_is_one_of_the_pixels_that_count() -> None:
    torch.manual_seed(0)
    outputs, y = torch.randn(60, 3, 4, 4), torch.randint(3, (60, 4, 4))
    y[torch.rand(60, 4, 4) < 0.5] = 255
    counts = y != 255
    share = ((outputs.argmax(1) != y) & counts).flatten(1).sum(1) / counts.flatten(1).sum(1)
    for least in (0.0, 0.25, 0.5, 0.75):
        margin = goals.segmentation(least, ignore=255).bind(untargeted(y)).margin(outputs)
        assert torch.equal(margin > 0, share > least)
    assert torch.equal(  # without such pixels the option changes nothing
        goals.segmentation(0.5, ignore=255).bind(untargeted(y % 3)).margin(outputs),
        goals.segmentation(0.5).bind(untargeted(y % 3)).margin(outputs),
    )


def test_labels_of_pixels_are_integers_and_some_count() -> None:
    for bad, says in ((torch.rand(3, 2, 2), "integers"), (torch.full((3, 2, 2), 9), "a pixel with a class")):
        with pytest.raises(InputError, match=says):
            PGD(eps=0.1, steps=1)(Maps(), X, bad, goal=goals.segmentation(0.5, ignore=9))


def test_two_targets_are_refused_unless_they_are_one() -> None:
    model, y, attack = linear(4), torch.tensor([0, 1, 2]), PGD(eps=0.1, steps=1)
    for target, wished in (((y + 1) % 4, (y + 2) % 4), (3, y), (y, "runner_up"), ("random", "runner_up"), (2, 3)):
        with pytest.raises(InputError, match="expected one target"):
            attack(model, X, y, target=target, goal=goals.target(wished))
    with pytest.raises(InputError, match="expected one target"):
        attack(model, X, y, target=3, goal=goals.untargeted())
    alone = attack(model, X, y, target=3).x_adv
    for target, wished in ((3, 3), (3, torch.full((3,), 3)), (torch.full((3,), 3), 3)):
        assert torch.equal(attack(model, X, y, target=target, goal=goals.target(wished)).x_adv, alone)


@pytest.mark.parametrize("eps", [torch.full((3,), 0.1), torch.full((3,), 0.1, dtype=torch.float64), torch.tensor(0.1)])
def test_no_result_carries_a_graph_of_the_callers(eps: Tensor) -> None:
    model, y = linear(4), torch.tensor([0, 1, 2])
    eps, images = eps.requires_grad_(), X.clone().requires_grad_()
    mask = torch.ones(2, 2, requires_grad=True)
    for found in (
        PGD(steps=2)(model, images, y, eps=eps),
        masked(PGD(eps=0.1, steps=2), mask)(model, images, y),
        FMN(steps=5)(model, images, y, clean=model(images)),
        BrendelBethge(steps=5, starts=torch.rand(4, 1, 2, 2, requires_grad=True))(model, images, y),
    ):
        assert not any(isinstance(value, Tensor) and value.requires_grad for value in vars(found).values())
    PGD(eps=eps[:1] if eps.ndim else eps, steps=1)(model, images, y)


def share_of_the_first(outputs: Tensor) -> Tensor:
    """A share as segmentation takes them: 0 / 0 where nothing of the class is there."""
    kept = outputs[:, 0] * (outputs[:, 0] > 0)
    return kept / kept - 2  # -1, or NaN


@pytest.mark.parametrize("stop", ["fooled", "never"])
def test_a_goal_that_is_nan_for_a_clean_image_is_refused(stop: str) -> None:
    model, y = nn.Flatten(), torch.zeros(3)
    assert not share_of_the_first(model(X)).isnan().any()
    x = X.index_fill(0, torch.tensor([1]), 0)
    with pytest.raises(InputError, match="the goal returned NaN for 1 of 3 clean images"):
        PGD(eps=0.1, steps=1)(model, x, y, goal=share_of_the_first, stop=stop)
    with pytest.raises(InputError, match="the goal returned NaN for 1 of 3 clean images"):
        evaluate(model, (x, y), [], goal=share_of_the_first)


@pytest.mark.filterwarnings("ignore:the gradient was exactly zero")
@pytest.mark.parametrize(
    "attack",
    [
        PGD(eps=0.02, steps=1, random_start=False),
        PGD(eps=0.02, steps=4, random_start=False),
        Square(eps=0.02, queries=5),  # its last point is not one where the goal is NaN
    ],
)
def test_a_goal_that_is_nan_during_the_search_is_told(attack: Attack) -> None:
    def goal(outputs: Tensor) -> Tensor:
        return torch.where(outputs.sum(1) > X[0].sum() + 0.01, torch.nan, outputs.sum(1) - 9)

    x, y = X[:1].expand(2, -1, -1, -1).clone(), torch.zeros(2)
    x[1] -= x[1].amin()  # far enough below the line
    with pytest.warns(AdvkitWarning, match="or the goal NaN, during the search for 1 of 2 samples"):
        result = attack(nn.Flatten(), x, y, goal=goal)
    assert result.non_finite.tolist() == [True, False]
    assert not result.success.any()
    with pytest.warns(AdvkitWarning, match="or the goal NaN"):
        report = evaluate(nn.Flatten(), (x, y), [attack], goal=goal, checks=False)
    assert any("the goal NaN, for 1 images" in line for line in report.warnings)


@pytest.mark.parametrize("own", [F.cross_entropy, nn.CrossEntropyLoss(reduction="none"), nn.MSELoss(), F.mse_loss])
def test_a_loss_of_torch_as_loss_or_goal_is_told_how_to_write_it(own: Any) -> None:
    with pytest.raises(InputError, match=r"write loss=lambda goal, logits: goal.sign \* loss\(logits, goal.label\)"):
        PGD(eps=0.1, steps=1, loss=own)
    with pytest.raises(InputError, match="goal=lambda outputs, y: loss"):
        PGD(eps=0.1, steps=1)(linear(3), X, torch.zeros(3, dtype=torch.int64), goal=own)


def test_that_advice_can_be_followed() -> None:
    loss, y = nn.CrossEntropyLoss(reduction="none"), torch.zeros(3, dtype=torch.int64)
    own = PGD(eps=0.1, steps=3, loss=lambda goal, logits: goal.sign * loss(logits, goal.label))
    for target in ("untargeted", 2):
        one, other = (attack(linear(3), X, y, target=target, stop="never") for attack in (own, PGD(eps=0.1, steps=3)))
        torch.testing.assert_close(one.x_adv, other.x_adv)
    assert PGD(eps=0.1, steps=1)(linear(3), X, y, goal=lambda outputs, y: loss(outputs, y) - 1).success.shape == (3,)


class Own(nn.Module):
    """A loss or a goal with weights of its own."""

    def forward(self, first: Any, second: Tensor, scale: float = 1) -> Tensor:
        return scale * (second if isinstance(first, Goal) else first)[:, 0]


def test_modules_and_functions_of_any_arguments_serve_as_losses_and_goals() -> None:
    y = torch.zeros(3, dtype=torch.int64)
    for own in (Own(), lambda *given: Own()(*given), lambda *given, **more: Own()(*given, **more)):
        for options, goal in (({"loss": own}, None), ({}, own)):
            found = PGD(eps=0.1, steps=1, **options)(linear(3), X, y, goal=goal, stop="never")
            assert found.success.shape == (3,)


def test_a_y_of_another_form_is_told_how_to_become_one_that_is_taken() -> None:
    attack, y = PGD(eps=0.1, steps=1), torch.tensor([0, 1, 1])
    for bad, says, mended in (
        (2 * y - 1, r"by \(y > 0\)\.long\(\)", lambda y: (y > 0).long()),
        (0.8 * y + 0.1, r"by \(y > 0\.5\)\.long\(\)", lambda y: (y > 0.5).long()),
    ):
        with pytest.raises(InputError, match=says):
            attack(linear(1), X, bad, goal=goals.one_logit())
        assert torch.equal(mended(bad), y)
        attack(linear(1), X, mended(bad), goal=goals.one_logit())
    maps = Maps()(X).argmax(1)
    for bad, says in ((maps[:, None], r"by \.squeeze\(1\)"), (F.one_hot(maps, 3).movedim(-1, 1), r"by \.argmax\(1\)")):
        with pytest.raises(InputError, match=says):
            attack(Maps(), X, bad, goal=goals.segmentation(0.1))


def test_outputs_that_need_a_goal_are_told_which() -> None:
    attack, y = PGD(eps=0.1, steps=1), torch.tensor([0, 1, 1])
    for model in (linear(1), nn.Sequential(linear(1), nn.Flatten(0))):
        with pytest.raises(InputError, match=r"goal='one_logit\(\)'"):
            attack(model, X, y)
        attack(model, X, y, goal="one_logit()")
        attack(model, X, y.float(), goal="regression(tolerance=0.1)")
    with pytest.raises(InputError, match=r"goal='segmentation\(share=0\.5\)'"):
        attack(Maps(), X, y)
    attack(Maps(), X, Maps()(X).argmax(1), goal="segmentation(share=0.5)")


def test_arrays_and_lists_are_told_how_to_become_tensors() -> None:
    attack, y = PGD(eps=0.1, steps=1), torch.tensor([0, 1, 1])
    for bad in (y.numpy(), y.tolist(), tuple(y.tolist())):
        with pytest.raises(InputError, match=r"torch\.as_tensor\(y\)"):
            attack(linear(3), X, bad)
        attack(linear(3), X, torch.as_tensor(bad))
    with pytest.raises(InputError, match=r"torch\.as_tensor\(x\)"):
        attack(linear(3), X.numpy(), y)
    with pytest.raises(InputError, match=r"torch\.stack\(x\)"):
        attack(linear(3), list(X), y)
    with pytest.raises(InputError, match=r"join them by torch\.stack$"):
        attack(linear(3), X.tolist(), y)


def test_an_answer_that_lost_the_axis_of_the_batch_is_told_of_squeeze() -> None:
    net = linear(5)
    with pytest.raises(InputError, match=r"got \(5,\); it lacks the axis of the batch, as after squeeze"):
        PGD(eps=0.1)(lambda x: net(x).squeeze(), X[:1], torch.zeros(1).long())
