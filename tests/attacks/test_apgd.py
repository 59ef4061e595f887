"""APGD: the schedule of the paper, its strength beside PGD, and any number of classes."""

import warnings

import pytest
import torch

from advkit.attacks import APGD, PGD, APGDTargeted
from advkit.attacks.apgd.schedules import SCHEDULES
from advkit.testing import AffineClassifier
from advkit.testing._toys import SHAPE, awkward_images, predicted, toy_case
from advkit.testing.nets import toy_classifier


def test_the_checkpoints_are_the_paper_s() -> None:
    marks = SCHEDULES[False].checkpoints(100)
    assert list(marks) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(marks.values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert list(SCHEDULES[True].checkpoints(100))[:3] == [4, 8, 12]
    for steps in (1, 2, 3, 7):
        assert all(0 < mark < steps for kind in (False, True) for mark in SCHEDULES[kind].checkpoints(steps))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_apgd_reaches_the_least_radius_of_an_affine_net(norm: str) -> None:
    model = AffineClassifier.random(SHAPE, 2, seed=1)
    x = 0.3 + 0.4 * torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = predicted(model, x)
    nearest, _ = model.nearest(x, y, norm)
    for loss in ("cross_entropy", "margin"):
        assert bool(APGD(norm=norm, loss=loss, steps=40)(model, x, y, eps=1.02 * nearest).success.all())
        assert not bool(APGD(norm=norm, loss=loss, steps=40)(model, x, y, eps=0.98 * nearest).success.any())


def test_apgd_is_at_least_as_strong_as_pgd_with_as_many_steps() -> None:
    ahead = 0
    for seed in range(4):
        case = toy_case(seed, samples=27, wrong=())
        adaptive, fixed = (
            attack(case.model, case.x, case.y, eps=0.1, stop="never") for attack in (APGD(steps=30), PGD(steps=30))
        )
        ahead += int(adaptive.success.sum()) - int(fixed.success.sum())
    assert ahead >= -1


def test_k_steps_cost_k_gradients_and_k_plus_two_queries() -> None:
    case = toy_case(1, wrong=())
    found = APGD(steps=7)(case.model, case.x, case.y, eps=1e-6, stop="never")
    assert (found.queries.tolist(), found.gradients.tolist()) == ([9] * 9, [7] * 9)
    found = APGD(steps=7, random_start=False)(case.model, case.x, case.y, eps=1e-6, stop="never")
    assert (found.queries.tolist(), found.gradients.tolist()) == ([8] * 9, [7] * 9)


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
@pytest.mark.parametrize("attack", [APGD(steps=4, loss="dlr"), APGDTargeted(steps=4)])
def test_few_classes_are_no_error(classes: int, attack: APGD) -> None:
    model = toy_classifier(SHAPE, classes, seed=2)
    x = awkward_images(6, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that margin takes the place of dlr
        found = attack(model, x, predicted(model, x), eps=0.5)
    assert bool(found.success.any())


def test_targeted_apgd_counts_a_success_by_its_own_goal() -> None:
    case = toy_case(3, samples=18, wrong=())
    aimed = APGD(steps=10, loss="dlr", eps=0.15)(case.model, case.x, case.y, target=case.target)
    answer = case.model(aimed.x_adv).argmax(1)
    assert torch.equal(aimed.success, answer == case.target)
    several = APGDTargeted(steps=10, eps=0.15)(case.model, case.x, case.y)
    assert torch.equal(several.success, case.model(several.x_adv).argmax(1) != case.y)
    assert int(several.success.sum()) >= int(aimed.success.sum())


def test_a_misclassified_sample_is_not_turned_back_into_the_right_class() -> None:
    case = toy_case(4, wrong=(0, 3, 5))
    found = APGDTargeted(steps=5, eps=0.2)(case.model, case.x, case.y)
    assert torch.equal(found.x_adv[[0, 3, 5]], case.x[[0, 3, 5]])


def test_nothing_that_was_returned_is_written_to_later() -> None:
    case = toy_case(5)
    attack = APGD(steps=4, eps=0.1)
    first = attack(case.model, case.x, case.y)
    before = first.x_adv.clone()
    attack(case.model, case.x, case.y, seed=1)
    assert torch.equal(first.x_adv, before)
