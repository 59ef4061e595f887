"""What advkit writes into a spec it reads back as an equal value, for every entry of every registry."""

import inspect
import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advkit import goals
from advkit.attacks import EOT, FGSM, PGD, Features, Patch, create_attack, eot, limited, restarts, targets
from advkit.core.attack import ATTACKS
from advkit.core.errors import InputError
from advkit.core.option_numbers import kinds_of
from advkit.core.registry import Registry, parse_spec
from advkit.core.wishes import GOALS
from advkit.core.written import written
from advkit.defenses import AWP, TRADES, AdversarialLoss, create_defense
from advkit.defenses._registry import DEFENSES
from advkit.defenses.transforms import TRANSFORMS
from advkit.evaluation.measure.certificates import CertificateAsked, asked_certificate
from advkit.training.augment._base import AUGMENTATIONS

REGISTRIES: dict[str, Registry[Any]] = {
    "attack": ATTACKS,
    "defense": DEFENSES,
    "transform": TRANSFORMS,
    "goal": GOALS,
    "augmentation": AUGMENTATIONS,
}
NEEDED = {"attack": FGSM(eps=0.1), "loss": AdversarialLoss(attack=FGSM(eps=0.1)), "eps": 0.1, "share": 0.5}
NEEDED |= {"k": 3, "classes": 3, "tolerance": 0.1234567}
NUMBERS: list[Any] = [
    math.inf,
    -math.inf,
    8 / 255,
    1 / 3,
    0.1234567,
    1e-9,
    0.0,
    0,
    1,
    3,
    5.0,
    "8/255",
]
NUMBERS += [np.float64(0.1), np.int64(3), np.array(0.25), torch.tensor(0.25), torch.tensor(3)]
VALUES = [*NUMBERS, None, True, False, np.bool_(True), "l2", "margin", "runner_up", (0, 1), (-1.0, 1.0), [0.5, 0.25]]
VALUES += [((0, 0, 0), (1, 1, 1)), "it's", "features.c1", 'a "word", (b=1)', "inf", "none", "True", "class", ""]


def entries() -> list[tuple[str, str]]:
    return [(kind, name) for kind, registry in REGISTRIES.items() for name in registry.names()]


@pytest.mark.parametrize(("kind", "name"), entries())
def test_every_value_that_an_entry_takes_is_read_back_from_its_spec(kind: str, name: str) -> None:
    registry = REGISTRIES[kind]
    make = create_defense if kind == "defense" else registry.create
    parameters = inspect.signature(registry.factory(name)).parameters.values()
    needed = {p.name: NEEDED[p.name] for p in parameters if p.default is p.empty and p.name in NEEDED}
    taken = 0
    for parameter in parameters:
        for value in VALUES:
            try:
                entry = registry.create(name, **{**needed, parameter.name: value})
                spec = getattr(entry, "spec", f"{name}({parameter.name}={written(value)})")
            except InputError:
                continue
            taken += 1
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "eps .* covers the whole range")
                again = make(spec)
            assert getattr(again, "spec", again) == getattr(entry, "spec", entry), spec
            if kind != "goal":  # which hold functions
                assert again == entry, spec
            elif isinstance(value, float) and parameter.name in spec:
                assert parse_spec(spec).options[parameter.name] == value
    assert taken or not any(kinds_of(p.annotation) & {int, float} for p in parameters)


@given(value=st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**62), 2**62), st.text()))
def test_a_number_and_a_word_are_read_as_they_were_written(value: float | str) -> None:
    read = parse_spec(f"x(value={written(value)})").options["value"]
    read = getattr(read, "name", read)  # a bare word is a spec without options
    assert read == value
    assert type(read) is type(value)
    assert "\n" not in written(value)


def test_attacks_inside_of_others_are_read_back() -> None:
    for attack in (
        restarts(eot(PGD(eps=math.inf), 2), 3),
        limited(targets(PGD(eps=8 / 255, norm="l2"), 2), 50),
        EOT(attack=Features(eps=0.1, layer="features.c1"), samples=3),
    ):
        assert create_attack(attack.spec) == attack
    for loss in (
        TRADES(attack=PGD(eps=8 / 255, loss="margin"), beta=np.float64(0.1234567)),
        AWP(loss=TRADES(attack=PGD(eps=math.inf)), gamma=1e-9),
        AdversarialLoss(attack=PGD(eps=0.1), alpha=np.float64(0.25), bounds=(np.float64(0), 255)),
    ):
        assert create_defense(loss.spec) == loss


def test_infinity_is_a_radius_and_no_other_number() -> None:
    assert create_attack("pgd(eps=inf)") == PGD(eps=math.inf)
    for spec in ("pgd(step_size=inf)", "pgd(steps=inf)", "pgd(eps=-inf)", "pgd(eps=nan)", "pgd(eps=inf/255)"):
        with pytest.raises(InputError, match=r"as a finite number, such as 0.03 or 8/255, got "):
            create_attack(spec)
    with pytest.raises(InputError, match="eps"):
        create_defense("ibp(eps=inf)")


def named(goal: Any, logits: Any) -> Any:
    return logits[:, 0]


@pytest.mark.parametrize(
    ("attack", "shown"),
    [
        (PGD(eps=0.1, loss=named), "pgd(loss=named, eps=0.1)"),
        (PGD(eps=0.1, loss=lambda goal, logits: logits[:, 0]), "pgd(loss='<lambda>', eps=0.1)"),
        (Patch(shape=torch.ones(3, 3)), "patch(shape='tensor of shape (3, 3), sha256 53591828')"),
    ],
)
def test_what_has_no_text_is_written_by_name_or_digest_and_refused_in_one_line(attack: Any, shown: str) -> None:
    assert attack.spec == shown
    with pytest.raises(InputError, match=r"^unknown (loss|shape) ") as caught:
        create_attack(attack.spec)
    assert "\n" not in str(caught.value)


def test_two_tensors_have_two_specs() -> None:
    half = torch.ones(3, 3)
    half[0] = 0
    assert Patch(shape=half).spec != Patch(shape=torch.ones(3, 3)).spec
    assert goals.target(torch.tensor([1, 2])).spec != goals.target(torch.tensor([2, 1])).spec


def test_a_certificate_writes_its_options_so_that_they_can_be_read() -> None:
    asked = CertificateAsked(method="exact", norm="l2", eps=8 / 255, options={"nodes": np.int64(5)})
    assert asked.spec == "exact(eps=8/255, norm=l2, nodes=5)"
    assert written(Fraction(8, 255)) == "8/255"
    with pytest.raises(InputError, match="expected a finite eps to certify at, got inf"):
        asked_certificate("crown(eps=inf)", [])
    with pytest.raises(InputError, match=r"such as 'crown\(eps=0.1\)'$"):
        asked_certificate("crown(.1)", [])


@pytest.mark.parametrize(
    ("registry", "text", "example"),
    [
        (TRANSFORMS, "resize_pad(4, seed=0)", "resize_pad(pixels=4, seed=0)"),
        (TRANSFORMS, "bit_depth(3", "jpeg(quality=75)"),
        (GOALS, "topk(5)", "topk(k=5)"),
        (GOALS, "segmentation(.4, ignore=255)", "segmentation(share=0.4, ignore=255)"),
        (GOALS, "", "top_k(k=5)"),
        (ATTACKS, "fgsm(8/255)", "fgsm(eps=8/255)"),
        (ATTACKS, "pgd(1, 2, 3, 4, 5, 6, 7, 8, 9)", "pgd(eps=0.1, steps=9)"),
        (ATTACKS, "nobody(4)", "pgd(eps=0.1, steps=9)"),
        (AUGMENTATIONS, "patch(28", "patch(size=28)"),
        (DEFENSES, "ibp(.1)", "ibp(eps=0.1)"),
    ],
)
def test_an_unreadable_spec_is_told_by_an_example_of_its_own_family(
    registry: Registry[Any], text: str, example: str
) -> None:
    with pytest.raises(InputError, match=r"^cannot read the spec") as caught:
        registry.create(text)
    assert str(caught.value).endswith(f"such as {example!r}")


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)
def test_the_examples_of_errors_work(registry: Registry[Any]) -> None:
    (create_defense if registry is DEFENSES else registry.create)(registry.example)
    for name in registry.names():
        try:
            registry.create(name)
        except InputError as error:
            if "needs" in str(error) and "..." not in str(error):
                example = str(error).rpartition("as in '")[2].rstrip("'")
                (create_defense if registry is DEFENSES else registry.create)(example)


WRAPPERS = {
    "restarts": 2,
    "eot": 2,
    "targets": 2,
    "limit": 9,
    "ti": 3,
    "ni": 0.5,
    "vmi": 2,
    "admix": 0.1,
    "si": 2,
    "di": 0.5,
}


@pytest.mark.parametrize("outer", WRAPPERS)
@pytest.mark.parametrize("inner", WRAPPERS)
def test_two_wrappers_are_read_back_in_their_order_or_not_at_all(inner: str, outer: str) -> None:
    wraps = ATTACKS.wrappers
    assert set(wraps) == set(WRAPPERS)
    try:
        made = wraps[outer](wraps[inner](PGD(eps=0.1), WRAPPERS[inner]), WRAPPERS[outer])
    except InputError:
        return  # some wrap no wrapper
    try:
        again = create_attack(made.spec)
    except InputError:
        assert list(wraps).index(outer) <= list(wraps).index(inner)
    else:
        assert again == made
