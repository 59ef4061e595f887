"""Numbers are numbers, whoever made them; words, flags and fractions of a count are not."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from advkit.attacks import PGD, create_attack
from advkit.core import door
from advkit.core.errors import InputError
from advkit.core.words import fraction

ONES = [1, np.int64(1), np.uint8(1), np.array(1), torch.tensor(1)]
HALVES = [0.5, np.float32(0.5), np.float16(0.5), np.array(0.5), torch.tensor(0.5), Fraction(1, 2)]


@pytest.mark.parametrize("one", ONES, ids=lambda v: type(v).__name__)
def test_an_integer_of_any_library_is_a_count_a_seed_and_a_target(one: object) -> None:
    for found in (door.check_count("n", one), door.check_seed(one), door.check_target(one, torch.empty(0))):
        assert found == 1
        assert type(found) is int


@pytest.mark.parametrize("half", HALVES, ids=lambda v: type(v).__name__)
def test_a_number_of_any_library_is_a_radius_and_a_share(half: object) -> None:
    for found in (door.check_eps(half), door.check_positive("p", half), door.check_between("b", half, 0, 1)):
        assert found == 0.5
        assert type(found) is float


@pytest.mark.parametrize("bad", [True, np.bool_(True), "1", 1.5, np.float32(1.5), None, torch.tensor([1])], ids=str)
def test_what_is_no_integer_is_no_count(bad: object) -> None:
    with pytest.raises(InputError, match="expected n as an integer >= 1"):
        door.check_count("n", bad)


@pytest.mark.parametrize("bad", [True, np.bool_(False), "half", None, [0.5], np.float32("nan")], ids=str)
def test_what_is_no_number_is_no_radius(bad: object) -> None:
    with pytest.raises(InputError, match="expected eps"):
        door.check_eps(bad)


def test_an_attack_keeps_plain_numbers_so_that_its_spec_makes_it_again() -> None:
    attack = PGD(eps=np.float32(0.125), steps=np.int64(3), step_size=torch.tensor(0.25), random_start=np.bool_(False))  # type: ignore[arg-type]
    assert attack.spec == "pgd(eps=0.125, steps=3, step_size=0.25, random_start=False)"
    assert create_attack(attack.spec) == attack


def test_a_call_takes_them_too() -> None:
    model, x = torch.nn.Linear(3, 2), torch.full((4, 3), 0.5)
    y = model(x).argmax(1)
    found = PGD(eps=0.25, steps=2)(model, x, y, eps=np.float32(0.125), seed=np.int64(3))  # type: ignore[arg-type]
    assert torch.equal(found.x_adv, PGD(eps=0.125, steps=2)(model, x, y, seed=3).x_adv)


@pytest.mark.parametrize(
    ("text", "value"),
    [("25.5/255", 0.1), ("8.0/255", 8 / 255), ("8 / 255", 8 / 255), ("1/3", 1 / 3), ("2e1/255", 20 / 255), (".5", 0.5)],
)
def test_a_text_of_a_number_is_one_whole_or_not_above_the_line(text: str, value: float) -> None:
    assert fraction(text) == value
    assert PGD(eps=text).eps == value


@pytest.mark.parametrize("text", ["1/0", "1/", "/2", "1/2/3", "a/2", "inf", "nan/1", "", "1e999"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a number such as"):
        fraction(text)


def test_minus_nothing_is_nothing() -> None:
    assert str(fraction("-0")) == str(fraction("-0/5")) == "0.0"


def test_one_eps_a_sample_belongs_into_the_call() -> None:
    with pytest.raises(InputError, match=r"expected one eps for all samples, got a tensor \(4,\): the call"):
        PGD(eps=torch.full((4,), 0.1))
    assert PGD(eps=torch.tensor([0.5])).eps == 0.5


def test_an_option_that_stands_twice_is_named() -> None:
    with pytest.raises(InputError, match="got eps= several times"):
        create_attack("pgd(eps=0.1, eps=0.2)")


@pytest.mark.parametrize(
    "text",
    ["1e-400", "-1e-400", "1e-400/255", "1/1e-400", "1e-300/1e300", "1e999999999/3", "1/1e999999999", "1e-999999999/3"],
)
def test_a_number_that_a_float_cannot_hold_is_none(text: str) -> None:
    with pytest.raises(InputError, match="expected a number"):
        fraction(text)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("0e5", 0), ("0.0/255", 0), ("5e-324", 5e-324), ("8/255", 8 / 255)]
)
def test_zero_and_small_numbers_are_numbers(text: str, value: float) -> None:
    assert fraction(text) == value
