"""Every number that a caller gives to a public function or class: whoever made it, and what is none is one line."""

import warnings
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from helpers.number_cases import CASES, EXCEPTIONS, LOCAL, NONSENSE, Case, has_no_target, numeric, public
from PIL import Image
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.core.plain import is_integer, plain


def same(a: Any, b: Any) -> None:
    """Two results are equal, and their numbers are of the same types."""
    assert type(a) is type(b)
    if isinstance(a, nn.Module):
        same({**a.state_dict(), "": a.extra_repr()}, {**b.state_dict(), "": b.extra_repr()})
    elif isinstance(a, Tensor):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            if "seconds" not in key:
                same(a[key], b[key])
    elif is_dataclass(a):
        for field in fields(a):
            if "seconds" not in field.name:
                same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, int | float | str | None):
        assert repr(a) == repr(b)


@pytest.fixture(scope="module", autouse=True)
def a_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("images")
    for name in ("one", "two"):
        (home / name).mkdir()
        Image.new("L", (6, 6)).save(home / name / "0.png")
    LOCAL["folder"] = home


def forms(good: Any) -> list[Any]:
    if isinstance(good, int):
        return [
            np.int64(good),
            np.array(good),
            torch.tensor(good),
            np.int8(good) if abs(good) < 100 else np.uint16(good),
        ]
    return [np.float64(good), np.array(good), torch.tensor(good, dtype=torch.float64)]


@pytest.mark.parametrize("name", CASES)
def test_a_number_of_numpy_and_of_torch_is_that_number(name: str) -> None:
    case = CASES[name]
    if not case.taken:
        pytest.skip("too expensive")
    for number, good in case.numbers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = case.call(**{number: good})
            for form in forms(good)[: case.most]:
                same(case.call(**{number: form}), wanted)


def refusal(case: Case, number: str, value: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of odd arrays
        try:
            case.call(**{number: value})
        except InputError as error:
            return str(error)
    pytest.fail(f"{number}={value!r:.60} was taken")


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_number_here_is_one_line_that_names_it(name: str) -> None:
    case = CASES[name]
    for number in case.numbers:
        for bad in NONSENSE:
            if not is_sense(case, number, bad):
                said = refusal(case, number, bad)
                assert "\n" not in said
                assert len(said) < 300
                assert (case.said or number) in said, said


def is_sense(case: Case, number: str, value: Any) -> bool:
    if any(value is one or (type(value) is type(one) and value == one) for one in case.allowed):
        return True
    value = plain(value)
    if value is None or (number in ("seed", "which") and is_integer(value)):
        return True
    if isinstance(value, int | float) and number in ("value", "mean", "ignore"):
        return value == -5 or (value in (2.5, -7.5) and number != "ignore")
    return isinstance(value, float) and value == 2.5 and isinstance(case.numbers[number], float)


def test_every_public_function_that_takes_a_number_stands_in_the_table() -> None:
    missing = {}
    for name, found in public():
        cases = [case for key, case in CASES.items() if key.partition(" ")[0] == name]
        numbers = {number for case in cases for number in case.numbers}
        left = [
            number
            for number in numeric(found)
            if number not in numbers and (number, has_no_target(found)) != ("target", True)
        ]
        if left and name not in EXCEPTIONS:
            missing[name] = left
    assert not missing


def test_no_exception_has_gone() -> None:
    assert set(EXCEPTIONS) <= {name for name, _ in public()}
