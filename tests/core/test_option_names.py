"""A model in the constructor, and the names that other libraries give to options: one line says what to do."""

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from advkit.attacks import ATTACKS, CW, FGSM, PGD, Restarts, around, create_attack, masked, restarts
from advkit.core.attack import Attack
from advkit.core.errors import InputError, UnknownNameError
from advkit.core.option_names import ELSEWHERE
from advkit.defenses import AWP, DEFENSES, TRADES, Free, create_defense

CLASSES = [factory for registry in (ATTACKS, DEFENSES) for factory in map(registry.factory, registry.names())]


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if inspect.isclass(cls)], ids=lambda cls: cls.__name__)
def test_a_model_in_the_constructor_is_told_where_it_belongs(cls: Any) -> None:
    with pytest.raises(
        InputError, match=rf"^{cls.__name__} takes options by name, and .*: {cls.__name__}\(.*\)\(model, "
    ):
        cls(nn.Flatten(), eps=0.1)
    with pytest.raises(UnknownNameError, match=f"^unknown option of {cls.__name__} 'colour_of_it'; ") as caught:
        cls(colour_of_it=3)
    assert "\n" not in str(caught.value)


def test_the_names_of_other_libraries_are_told_ours() -> None:
    for cls, option, ours in [(PGD, "alpha", "step_size"), (PGD, "max_iter", "steps"), (FGSM, "epsilon", "eps")]:
        with pytest.raises(
            UnknownNameError, match=f"^unknown option of {cls.__name__} '{option}'; it is called '{ours}' here$"
        ):
            cls(**{option: 0.1})
        with pytest.raises(UnknownNameError, match=f"'{option}'; it is called '{ours}' here$"):
            create_attack(cls.name, **{option: 0.1})
    with pytest.raises(UnknownNameError, match="it is called 'confidence' here"):
        CW(kappa=0)  # type: ignore[call-arg]
    with pytest.raises(UnknownNameError, match="it is called 'restarts' here"):
        create_attack("pgd(num_random_init=5)")


def test_every_name_of_the_table_is_an_option_somewhere_and_its_key_is_none() -> None:
    known = {option for cls in CLASSES for option in inspect.signature(cls).parameters} | ATTACKS.wrappers.keys()
    assert set(ELSEWHERE.values()) <= known
    shadowed = [
        (cls.__name__, there)
        for cls in CLASSES
        for there, here in ELSEWHERE.items()
        if {there, here} <= inspect.signature(cls).parameters.keys()
    ]
    assert shadowed == []


@pytest.mark.parametrize("loss", [TRADES, AWP])
def test_an_option_of_the_attack_inside_is_shown_its_place(loss: Any) -> None:
    with pytest.raises(
        UnknownNameError, match=rf"'eps'; .*; the rest belongs inside, as in {loss.__name__}\(.*PGD\(eps=0.1\)\)+$"
    ):
        loss(eps=0.1)
    assert create_defense(f"{loss.name}(eps=0.1)").spec


MAKERS = [getattr(around, name) for name in around.__all__ if not inspect.isclass(getattr(around, name))]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_an_option_of_the_attack_inside_given_to_a_function_is_shown_its_place(make: Any) -> None:
    values = [1, *[1] * (len(inspect.signature(make).parameters) - 2)]
    inner = PGD(eps=0.1)
    given = {"target": 3, "steps": 5, "seed": 7, "sigma_zero": 1, "eot": 2}
    said = {
        "target": rf"the attack inside, as in {make.__name__}\(PGD\(eps=0.1, target=3\).*\), or to the call: .*=3",
        "steps": rf"^steps belongs to the attack inside, as in {make.__name__}\(PGD\(eps=0.1, steps=5\)[^:]*$",
        "seed": r"^seed belongs to the call: attack\(model, x, y, seed=7\)$",
        "sigma_zero": rf"^unknown option of {make.__name__} 'sigma_zero'",
        "eot": rf"^eot goes around the attack: eot\({make.__name__}\(PGD\(eps=0.1\).*, 2\)$",
    }
    for option, value in given.items():
        for attack in (inner, restarts(masked(inner, torch.ones(1)), 2)):
            with pytest.raises(InputError, match=said[option]) as caught:
                make(attack, *values[:1], **{option: value})
            assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=f"unknown option of {make.__name__} 'target'"):
        make(3, *values[:1], target=3)


def test_an_option_of_the_call_is_no_option_of_the_attack() -> None:
    for cls in (PGD, CW, Restarts):
        for option in ("seed", "bounds", "goal", "stop", "sample_ids"):
            with pytest.raises(InputError, match=rf"^{option} belongs to the call: attack\(model, x, y, {option}=3\)$"):
                cls(**{option: 3})
    with pytest.raises(InputError, match=r"^seed belongs to the call"):
        create_attack("pgd(eps=0.1, seed=3)")
    with pytest.raises(InputError, match=r"^restarts goes around the attack: restarts\(PGD\(eps=0.1\), 3\)$"):
        PGD(eps=0.2, restarts=3)  # type: ignore[call-arg]
    with pytest.raises(
        InputError, match=r"^steps belongs to the attack inside, as in TRADES\(attack=PGD\(.*steps=3\)\)$"
    ):
        TRADES(attack=PGD(eps=0.1), steps=3)  # type: ignore[call-arg]


def test_classes_are_made_copied_and_inspected_as_before() -> None:
    assert list(inspect.signature(PGD).parameters)[:4] == ["target", "norm", "loss", "eps"]
    for made in (PGD(eps=0.1), TRADES(attack=PGD(eps=0.1)), Free(eps=0.1)):
        for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), dataclasses.replace(made)):
            assert again == made


def test_an_attack_of_ones_own_takes_what_its_constructor_takes() -> None:
    class Own(PGD):
        def __init__(self, length: float) -> None:
            super().__init__(eps=length)

    assert Own(0.25).eps == 0.25
    assert isinstance(Own(0.25), Attack)

    @dataclasses.dataclass(frozen=True)
    class Positional(PGD):
        more: int = 3

    assert Positional(more=4).more == 4
