"""Objects in files: what counts as the same object, and what a file gives back."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from advkit.certification import Certificate
from advkit.core.saved import alike

ONES = torch.ones(3)
SAME: list[tuple[Any, Any]] = [
    (1, 1),
    ("a", "a"),
    (None, None),
    (ONES, ONES.clone()),
    (torch.tensor([1.0, math.nan]), torch.tensor([1.0, math.nan])),
    ({"a": ONES, "b": {"c": 2}}, {"b": {"c": 2}, "a": ONES.clone()}),
]
OTHER: list[tuple[Any, Any]] = [
    (1, 2),
    (1, 1.0),
    (1, True),
    ("a", "b"),
    (None, 0),
    (ONES, ONES.tolist()),
    (ONES, ONES.double()),
    (ONES, ONES[:2]),
    (ONES, torch.tensor([1.0, 1.0, 2.0])),
    (torch.tensor([1.0, math.nan]), torch.tensor([1.0, 0.0])),
    (torch.tensor([1.0, math.nan]), torch.tensor([math.nan, 1.0])),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    ({"a": 1}, {"a": 1, "b": 1}),
    ({"a": ONES, "b": 1}, {"a": ONES + 1, "b": 1}),
]


@pytest.mark.parametrize(("first", "second"), SAME, ids=str)
def test_what_holds_the_same_is_alike(first: Any, second: Any) -> None:
    assert alike(first, second)
    assert alike(second, first)


@pytest.mark.parametrize(("first", "second"), OTHER, ids=str)
def test_what_differs_in_type_shape_or_value_is_not(first: Any, second: Any) -> None:
    assert not alike(first, second)
    assert not alike(second, first)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "ibp"},
        {"norm": "l2"},
        {"eps": torch.full((2,), 0.2, dtype=torch.float64)},
        {"eps": None},
        {"certified": torch.tensor([True, True])},
        {"broken": torch.tensor([False, False])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_certificates_that_differ_in_one_field_are_not_equal(change: dict[str, Any]) -> None:
    eps, margin = torch.full((2,), 0.1, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)
    certified = torch.tensor([True, False])
    first = Certificate(certified=certified, margin=margin, method="crown", norm="linf", eps=eps)
    assert first == replace(first, eps=eps.clone())
    assert first != replace(first, **change)
