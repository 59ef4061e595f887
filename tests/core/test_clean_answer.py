"""`clean=`: an attack that is given the answers to the clean images finds what it finds without, one pass sooner."""

import warnings
from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from advkit import evaluate
from advkit.attacks import create_attack, eot, list_attacks, masked, restarts, transfer
from advkit.core.attack import Attack
from advkit.core.errors import InputError
from advkit.testing._subject import RADII
from advkit.testing._toys import SHAPE, awkward_images
from advkit.testing.nets import toy_classifier

FEW = {"queries": 12, "steps": 3, "searches": 2, "leaps": 0, "rotations": 3, "shifts": 3, "tries": 4, "first": 4}
FEW |= {"population": 4, "generations": 2, "turns": 1, "leap_searches": 1, "first_steps": 3, "later_steps": 2}
NET = toy_classifier(SHAPE, 3, seed=0)
X = awkward_images(4, seed=1)
Y = NET(X).argmax(1)
Y[0] = (Y[0] + 1) % 3  # wrong already


def short(name: str) -> Attack:
    taken = create_attack(name).__dataclass_fields__
    return create_attack(name, **{option: value for option, value in FEW.items() if option in taken})


def asked(attack: Attack, clean: Tensor | None, **call: object) -> tuple[list[Tensor], int]:
    """What the attack returns, field by field, and how many images the model saw."""
    seen = 0

    def model(x: Tensor) -> Tensor:
        nonlocal seen
        seen += len(x)
        return NET(x)

    eps = {"eps": RADII[attack.norm]} if attack.kind == "budget" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = attack(model, X, Y, clean=clean, **eps, **call)
    return [v for f in fields(found) if (v := getattr(found, f.name)) is not None], seen


SEVERAL = {"autoattack", "cascade"}  # their first stage begins at a random point
ELSEWHERE = {"features"}  # it listens inside the network while that looks at the clean images


@pytest.mark.parametrize("stop", ["fooled", "never"])
@pytest.mark.parametrize("name", list_attacks())
def test_every_attack_finds_the_same_with_at_most_one_pass_less(name: str, stop: str) -> None:
    attack = short(name)
    alone, before = asked(attack, None, stop=stop)
    told, after = asked(attack, NET(X), stop=stop)
    for one, other in zip(alone, told, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    uses = name in SEVERAL or not (attack.starts_at_x or name in ELSEWHERE)
    assert before - after == (len(X) if uses else 0)


MASK = torch.ones(SHAPE[1:])
BESIDE: dict[str, tuple[Callable[[], Attack], int]] = {
    "a random start": (lambda: create_attack("pgd(steps=3)"), 4),
    "none": (lambda: create_attack("pgd(steps=3, random_start=False)"), 0),
    "restarts": (lambda: restarts(create_attack("pgd(steps=3)"), 2), 4),
    "a mask": (lambda: masked(create_attack("pgd(steps=3)"), MASK), 4),
    "a mean of answers, which is another model's": (lambda: eot(create_attack("pgd(steps=3)"), 2), 0),
    "a surrogate, which looks for itself": (lambda: transfer(create_attack("pgd(steps=3)"), NET), 4),
    "each class in turn": (lambda: create_attack("pgd(steps=3, target=all)"), 9),  # and one image, to count classes
    "the runner-up": (lambda: create_attack("pgd(steps=3, target=runner_up)"), 4),
}


@pytest.mark.parametrize("case", BESIDE)
def test_wrappers_and_targets_use_it_where_it_is_the_models(case: str) -> None:
    make, saved = BESIDE[case]
    alone, before = asked(make(), None)
    told, after = asked(make(), NET(X))
    for one, other in zip(alone, told, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert before - after == saved


def test_what_is_given_is_believed_and_left_alone() -> None:
    away = NET(X).roll(1, 1).requires_grad_()
    before = away.detach().clone()
    found = create_attack("pgd(steps=3, eps=0.1)")(NET, X, before.argmax(1), clean=away)
    assert torch.equal(away, before)
    assert not found.logits.requires_grad
    assert (found.queries > 1).all()  # nobody counts as wrong at the start
    found.logits.zero_()
    assert torch.equal(away, before)


@pytest.mark.parametrize(
    ("clean", "says"),
    [
        (NET(X)[:3], "one row each"),
        (NET(X).argmax(1), "int64"),
        ([1.0], "one row each"),
        (NET(X)[:, :1], r"expected logits of shape \(4, K\)"),
        (NET(X) * torch.nan, "NaN"),
    ],
)
def test_another_form_ends_in_one_line(clean: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        create_attack("pgd(steps=3, eps=0.1)")(NET, X, Y, clean=clean)


def test_an_evaluation_looks_once_at_the_clean_images_for_all_attacks() -> None:
    rows = []

    def model(x: Tensor) -> Tensor:
        rows.append(len(x))
        return NET(x)

    specs = ["pgd(steps=3, eps=0.1)", "pgd(steps=3, eps=0.2)", "pgd(steps=3, eps=0.3)"]
    evaluate(model, (X, Y), attacks=specs, control=None, checks=False, stop="never", device="cpu")
    look, alone, steps_and_verdict = len(X), 1, 4 * len(X)
    assert sum(rows) == look + alone + 3 * steps_and_verdict


def test_a_model_that_draws_is_asked_by_every_attack() -> None:
    calls = 0

    def model(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return NET(x) + calls

    counted = []
    for count in (1, 2):
        calls = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            specs = [f"pgd(steps=3, eps={eps})" for eps in (0.1, 0.2)[:count]]
            evaluate(model, (X, Y), attacks=specs, control=None, checks=False, stop="never", device="cpu")
        counted.append(calls)
    assert counted[1] - counted[0] == 5  # a look of its own, three steps, the verdict
