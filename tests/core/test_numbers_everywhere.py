"""Every number that comes through a spec or an option, over the registries: what is no number is one line."""

import inspect
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from advkit.attacks import ATTACKS, FGSM
from advkit.core.errors import InputError
from advkit.core.option_numbers import kinds_of
from advkit.core.registry import Registry, parse_spec
from advkit.core.wishes import GOALS
from advkit.defenses import DEFENSES, TRANSFORMS, AdversarialLoss
from advkit.models._registry import MODELS
from advkit.training.augment import AUGMENTATIONS

REGISTRIES = {"attack": ATTACKS, "defense": DEFENSES, "transform": TRANSFORMS, "augmentation": AUGMENTATIONS}
REGISTRIES |= {"goal": GOALS}
NEEDED: dict[str, Any] = {
    "attack": FGSM(eps=0.1),
    "loss": AdversarialLoss(attack=FGSM(eps=0.1)),
    "eps": 0.1,
    "share": 0.5,
}
"""Options without a default."""

SMALL_MODELS = ("lenet5", "mlp")
NO_NUMBERS = [-math.inf, math.nan, 10**5000, "abc", "inf", "nan", "1e400", "inf/255", "1/0", 1j, [1], True]
NO_NUMBERS += [b"1", np.zeros(3), {"a": 1}, np.float32("nan")]
TEXTS = [
    "-inf",
    "nan",
    "-nan",
    "Infinity",
    "1e400",
    "-1e400",
    "1/0",
    "0/0",
    "1/0.0",
    "inf/255",
    "8/inf",
    "1e308/1e-300",
]
TEXTS += ["1" * 400, "[1, 1e400]", "{2: 1e400}"]


def numeric(factory: Any) -> list[tuple[str, set[Any]]]:
    found = []
    for name, parameter in inspect.signature(factory).parameters.items():
        kinds = kinds_of(parameter.annotation)
        if kinds & {int, float} and kinds <= {int, float, type(None)}:
            found.append((name, kinds))
    return found


def entries() -> list[tuple[str, str]]:
    pairs = [(kind, name) for kind, registry in REGISTRIES.items() for name in registry.names()]
    return [*pairs, *(("model", name) for name in SMALL_MODELS)]


def refused(registry: Registry[Any], name: str, option: str, value: Any) -> None:
    parameters = inspect.signature(registry.factory(name)).parameters.values()
    needed = {p.name: NEEDED[p.name] for p in parameters if p.default is p.empty and p.name in NEEDED}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of odd arrays
        with pytest.raises(InputError) as caught:
            registry.create(name, **{**needed, option: value})
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 300
    assert option in said


@pytest.mark.parametrize(("kind", "name"), entries())
def test_what_is_no_number_is_one_line_that_names_the_option(kind: str, name: str) -> None:
    registry: Any = {**REGISTRIES, "model": MODELS}[kind]
    for option, _ in numeric(registry.factory(name)):
        bad: list[Any] = [*NO_NUMBERS, *([] if option == "eps" and kind == "attack" else [math.inf])]
        for value in bad:
            refused(registry, name, option, value)


@pytest.mark.parametrize("kind", ["attack", "defense", "transform"])
def test_negative_numbers_are_refused_where_a_length_a_count_or_a_weight_is_wanted(kind: str) -> None:
    registry = REGISTRIES[kind]
    for name in registry.names():
        for option, _ in numeric(registry.factory(name)):
            if option != "seed":
                refused(registry, name, option, -1)


@pytest.mark.parametrize("text", TEXTS)
def test_a_spec_holds_finite_numbers_only(text: str) -> None:
    for spec in (f"pgd(eps={text})", f"pgd(steps=4, eps={text})", f"a(of=b(eps={text}))"):
        with pytest.raises(
            InputError, match=r"^expected eps as a finite number, such as 0.03 or 8/255, got "
        ) as caught:
            parse_spec(spec)
        assert len(str(caught.value)) < 140


@pytest.mark.parametrize("text", ["1e-400", "-1e-400", "0.0001e-400", "1e-300/1e300", "[1, 2e-999]", "1_0e-400/255"])
def test_a_number_of_a_spec_that_a_float_holds_as_0_is_refused(text: str) -> None:
    for spec in (f"pgd(eps={text})", f"a(of=b(eps={text}))"):
        with pytest.raises(InputError, match=r"^expected eps as a number that a float can hold, got "):
            parse_spec(spec)


@pytest.mark.parametrize("text", ["0", "0.0", "0e5", "-0.00", "0/255", "0.0e-400", "5e-324", "[0, 1]"])
def test_a_spec_may_hold_0(text: str) -> None:
    assert parse_spec(f"pgd(eps={text})").options["eps"] in (0.0, 5e-324, [0, 1])


def test_words_that_are_no_words_are_one_line() -> None:
    for kind, name in entries():
        registry: Any = {**REGISTRIES, "model": MODELS}[kind]
        for option, parameter in inspect.signature(registry.factory(name)).parameters.items():
            if parameter.annotation is str:
                for value in (["a"], 3, np.zeros(3), {"a": 1}, torch.zeros(3), math.nan):
                    refused(registry, name, option, value)


def test_numbers_that_are_numbers_go_on_being_taken() -> None:
    spec = parse_spec("pgd(eps=8/255, steps=40, step_size=2e-3, loss=dlr, restarts=-3, mask=[1, .5])")
    assert spec.options["eps"] == 8 / 255
    assert spec.options["mask"] == [1, 0.5]
    assert ATTACKS.create("pgd", eps=math.inf).eps == math.inf
    assert ATTACKS.create("pgd", eps="8/255", steps=np.int64(3)).eps == 8 / 255
    assert ATTACKS.create("spatial").eps == math.inf


def test_what_a_factory_cannot_say_is_said_for_it() -> None:
    with pytest.raises(
        InputError, match=r"model 'mlp' refuses its options \(dropout\): ValueError: dropout probability"
    ):
        MODELS.create("mlp", dropout=-1.0)
    with pytest.raises(InputError, match="expected units as an integer >= 1, got -1"):
        MODELS.create("maxout", units=-1)
    with pytest.raises(InputError, match="expected head_dropout as a number from 0 to 1, got 2"):
        MODELS.create("nin", head_dropout=2.0, input_shape=(3, 16, 16), width=0.1)
