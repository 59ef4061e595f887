"""Wrappers in wrappers around every attack, few classes, one sample, all wrong, eps 0, targets: nothing breaks."""

import warnings
from typing import Any

import pytest
import torch
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from torch import Tensor

from advkit.attacks import ATTACKS, create_attack, eot, list_attacks, masked, restarts, smallest, targets
from advkit.core.attack import Attack
from advkit.core.errors import InputError
from advkit.core.norms import get_norm
from advkit.testing._subject import RADII
from advkit.testing._toys import SHAPE, awkward_images
from advkit.testing.assertions import RELATIVE
from advkit.testing.nets import toy_classifier

FEW = {"queries": 20, "steps": 4, "searches": 2, "leaps": 0, "rotations": 3, "shifts": 3, "tries": 5, "first": 4}
FEW |= {"population": 4, "generations": 3, "turns": 1, "leap_searches": 1, "first_steps": 4, "later_steps": 3}
NAMES = list_attacks()


def short(name: str, norm: str, more: dict[str, Any]) -> Attack:
    taken = create_attack(name).__dataclass_fields__
    few = {option: value for option, value in FEW.items() if option in taken}
    return create_attack(name, norm=norm, **{**few, **more})


@st.composite
def calls(draw: st.DrawFn) -> tuple[Attack, dict[str, Any], Tensor, Tensor, int]:
    """An attack with wrappers in any order, and a batch for it."""
    name = draw(st.sampled_from(NAMES))
    norm = draw(st.sampled_from(ATTACKS.factory(name).norms))
    classes = draw(st.integers(2, 4))
    aim = draw(st.sampled_from(["untargeted", "runner_up", "random", 0]))
    attack = short(name, norm, {"target": aim} if ATTACKS.factory(name).targetable else {})
    mask = torch.zeros(SHAPE[1:])
    mask[:, : draw(st.integers(0, 4))] = 1
    wraps = {
        "restarts": lambda a: restarts(a, draw(st.integers(1, 2))),
        "eot": lambda a: eot(a, 2),
        "masked": lambda a: masked(a, mask),
        "smallest": lambda a: smallest(a, halvings=2),
        "targets": lambda a: targets(a, draw(st.integers(1, 3))),
    }
    for wrap in draw(st.lists(st.sampled_from(sorted(wraps)), max_size=2)):
        try:
            attack = wraps[wrap](attack)
        except InputError:
            continue
    samples = draw(st.sampled_from([1, 2, 5]))
    x = awkward_images(samples, seed=draw(st.integers(0, 5)))
    model_seed = draw(st.integers(0, 3))
    y = toy_classifier(SHAPE, classes, seed=model_seed)(x).argmax(1)
    wrong = draw(st.sampled_from(["none", "all", "first"]))
    y = (y + 1) % classes if wrong == "all" else torch.cat([(y[:1] + 1) % classes, y[1:]]) if wrong == "first" else y
    call: dict[str, Any] = {"stop": draw(st.sampled_from(["fooled", "never"])), "seed": draw(st.integers(0, 3))}
    if goal := draw(st.sampled_from([None, None, "confident(lead=0.2)", "top_k(k=1)"])):
        call["goal"] = goal
    if attack.kind == "budget":
        call["eps"] = draw(st.sampled_from([0.0, RADII[norm], 3 * RADII[norm]]))
        if draw(st.booleans()):
            call["eps"] = call["eps"] * torch.linspace(0, 1, samples, dtype=torch.float64)
            call["eps"] = call["eps"].ceil() if get_norm(norm).grain else call["eps"]
    return attack, call, x, y, classes * 10 + model_seed


@settings(max_examples=150, deadline=None)
@given(calls())
def test_any_wrappers_around_any_attack_keep_form_ball_and_truth(case: Any) -> None:
    attack, call, x, y, code = case
    note(f"{attack.spec} {call} {code} {len(x)} {y.tolist()}")
    model = toy_classifier(SHAPE, code // 10, seed=code % 10)
    before = x.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = attack(model, x, y, **call)
        except InputError:
            event("refused")  # one line that says why; anything else is a fault
            return
    assert found.x_adv.shape == x.shape
    assert bool(found.x_adv.isfinite().all())
    assert float(found.x_adv.min()) >= 0
    assert float(found.x_adv.max()) <= 1
    assert torch.equal(x, before)
    assert found.success.shape == found.distance.shape == found.queries.shape == (len(x),)
    assert bool((found.queries >= 1).all())
    size = get_norm(attack.norm).size(found.x_adv.double() - x.double())
    if "eps" in call and attack.name not in ("spatial", "patch", "lavan"):
        assert bool((size <= call["eps"] * (1 + RELATIVE)).all())
    wrong = model(found.x_adv).argmax(1) != y
    assert not bool((found.success & ~wrong & (model(x).argmax(1) == y)).any()) or attack.target == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_every_attack_takes_one_sample_of_few_classes_in_every_state(name: str, classes: int) -> None:
    model = toy_classifier(SHAPE, classes, seed=1)
    x = awkward_images(2, seed=1)[:1]
    right = model(x).argmax(1)
    for norm in ATTACKS.factory(name).norms:
        attack = short(name, norm, {})
        for y in (right, (right + 1) % classes):
            for eps in (0.0, RADII[norm]) if attack.kind == "budget" else (None,):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = attack(model, x, y, **({} if eps is None else {"eps": eps}))
                assert found.x_adv.shape == x.shape
                assert eps != 0 or name in ("spatial", "patch", "lavan") or torch.equal(found.x_adv, x)
                assert bool(found.success) or bool((y == right).all())


@pytest.mark.parametrize("classes", [2, 3])
def test_the_smallest_eps_of_an_attack_with_more_targets_than_classes(classes: int) -> None:
    """An IndexError: what was over inside went on, towards a class that the model does not have."""
    model, x = toy_classifier(SHAPE, classes, seed=0), awkward_images(4, seed=1)
    y = model(x).argmax(1)
    plenty, few = (smallest(create_attack("apgd_targeted", steps=4, classes=n), halvings=2) for n in (9, classes - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(plenty(model, x, y).x_adv, few(model, x, y).x_adv)
