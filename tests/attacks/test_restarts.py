"""Restarts and targets: nested runs, the best point of each sample, as many passes as runs."""

import pytest
import torch

from advkit.attacks import APGD, FGSM, LBFGS, PGD, AutoAttack, create_attack, restarts, smallest, targets
from advkit.core.errors import InputError
from advkit.testing._toys import toy_case


def test_more_restarts_never_fool_fewer_and_the_first_is_the_attack_alone() -> None:
    case = toy_case(1, samples=18, wrong=())
    attack, fooled = PGD(eps=0.06, steps=3), torch.zeros(18, dtype=torch.bool)
    alone = attack(case.model, case.x, case.y)
    assert torch.equal(restarts(attack, 1)(case.model, case.x, case.y).x_adv, alone.x_adv)
    for number in (1, 2, 4, 7):
        found = restarts(attack, number)(case.model, case.x, case.y)
        assert bool((found.success | ~fooled).all())
        fooled = found.success


def test_the_best_point_of_all_runs_is_kept_not_the_last_one() -> None:
    case = toy_case(2, samples=18, wrong=())
    attack = PGD(eps=0.05, steps=2)
    union = torch.zeros(18, dtype=torch.bool)
    for run in range(5):
        draws_apart = restarts(attack, run + 1)(case.model, case.x, case.y, stop="never")
        union |= draws_apart.success
    assert torch.equal(union, draws_apart.success)


def test_runs_differ() -> None:
    case = toy_case(3)
    one, two = (restarts(PGD(eps=0.1, steps=1), n)(case.model, case.x, case.y, stop="never").logits for n in (1, 4))
    assert not torch.equal(one, two)


def test_every_run_costs_its_passes_and_the_clean_image_is_seen_once() -> None:
    case = toy_case(4, wrong=())
    found = restarts(PGD(eps=1e-6, steps=3), 4)(case.model, case.x, case.y, stop="never")
    assert found.queries.tolist() == [1 + 4 * (3 + 1)] * 9
    assert found.gradients.tolist() == [4 * 3] * 9


def test_a_spec_says_how_many_restarts_and_targets() -> None:
    for spec in ("pgd(steps=4, restarts=3)", "pgd(targets=2)", "apgd(norm=l2, restarts=2)"):
        attack = create_attack(spec)
        assert attack.spec == spec
        assert create_attack(attack.spec) == attack
    assert create_attack("pgd", restarts=2) == restarts(PGD(), 2)
    with pytest.raises(InputError, match="did you mean 'restarts'"):
        create_attack("pgd(restart=3)")


def test_what_cannot_be_repeated_is_refused() -> None:
    for attack in (FGSM(), PGD(random_start=False), LBFGS()):
        with pytest.raises(InputError, match="makes no random choice"):
            restarts(attack, 2)
    with pytest.raises(InputError, match="restarts as an integer >= 1"):
        restarts(PGD(), 0)
    with pytest.raises(InputError, match="expected an attack"):
        restarts("pgd", 2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="made of several attacks"):
        restarts(AutoAttack(), 2)
    with pytest.raises(InputError, match="without a target of its own"):
        targets(PGD(target=3), 2)
    with pytest.raises(InputError, match="targets as an integer"):
        targets(PGD(), 0)


def test_a_wrapper_can_be_wrapped() -> None:
    case = toy_case(5, wrong=())
    found = smallest(restarts(PGD(steps=2), 2), halvings=3)(case.model, case.x, case.y)
    assert bool((found.distance[found.success] > 0).all())
    assert restarts(targets(PGD(eps=0.1, steps=2), 2), 2)(case.model, case.x, case.y).queries.max() <= 1 + 4 * 3


def test_any_class_but_y_is_a_success_whichever_was_aimed_at() -> None:
    case = toy_case(6, samples=18, wrong=())
    found = targets(PGD(eps=0.2, steps=5), 3)(case.model, case.x, case.y)
    answer = case.model(found.x_adv).argmax(1)
    assert torch.equal(found.success, answer != case.y)
    assert bool(found.success.any())


def test_each_wrong_class_is_aimed_at_once_however_many_were_asked_for() -> None:
    case = toy_case(7, classes=3, wrong=())
    found = targets(PGD(eps=1e-6, steps=2), 9)(case.model, case.x, case.y, stop="never")
    assert found.gradients.tolist() == [2 * 2] * 9  # two classes, and not nine


def test_all_targets_is_the_driver_s_own_loop() -> None:
    assert targets(PGD(steps=3), "all") == PGD(steps=3, target="all")


def test_the_likeliest_class_comes_first() -> None:
    case = toy_case(8, wrong=())
    clean = case.model(case.x).detach()
    runner = clean.scatter(1, case.y[:, None], -torch.inf).argmax(1)
    attack = APGD(steps=5, random_start=False, loss="margin")
    one = targets(attack, 1)(case.model, case.x, case.y, eps=0.05, stop="never")
    aimed = attack(case.model, case.x, case.y, eps=0.05, target=runner, stop="never")
    assert one.gradients.tolist() == aimed.gradients.tolist()
