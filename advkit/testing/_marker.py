"""The marker `robustness`: finds the images for a test's return value, then calls `assert_robust`."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.data import load_data
from advkit.data._any_data import as_data
from advkit.data._stream import batches, how_many
from advkit.testing.robust import assert_robust

OPTIONS = (
    "max_error",
    "eps",
    "attack",
    "data",
    "count",
    "seed",
    "confidence",
    "bounds",
    "inconclusive",
    "goal",
    "verdicts",
)


def check_answer(answer: Any, args: Sequence[object], options: Mapping[str, Any]) -> None:
    """Check the classifier that a test returned as its marker requires.

    Args:
        answer: a classifier; or (classifier, data), or (classifier, x, y).
        args: positional arguments of the marker; there must be none.
        options: options of the marker: those of `assert_robust`; `data`, which is a name for `load_data`, a Dataset, a
            DataLoader or a pair of tensors (default: the data on a shipped classifier's card); and `count`, the number
            of images, whose choice is fixed (default: 100 of a set given by name, otherwise all).

    Raises:
        AssertionError: the classifier is not robust, or the images do not decide.
        InputError: there is no classifier or no data, or the marker has no such option.
    """
    __tracebackhide__ = True
    if args or "max_error" not in options:
        raise InputError("expected the marker as robustness(max_error=..., ...), options by name, max_error among them")
    for name in options:
        if name not in OPTIONS:
            raise unknown("option of the marker robustness", name, OPTIONS)
    rest = {name: value for name, value in options.items() if name not in ("data", "count")}
    model, x, y = _parts(answer, options.get("data"), options.get("count"))
    assert_robust(model, x, y, **rest)


def _parts(answer: Any, data: Any, count: int | None) -> tuple[Model, Tensor, Tensor]:
    model, *own = answer if isinstance(answer, tuple) else (answer,)
    if not callable(model) or len(own) > 2:
        raise InputError(
            "expected the test to return a classifier, (classifier, data) or (classifier, x, y), "
            f"got {type(answer).__name__}"
        )
    if own:
        data = own[0] if len(own) == 1 else tuple(own)
    data = _default(model) if data is None else data
    if isinstance(data, str):
        data, count = load_data(data), 100 if count is None else count
    _, count = how_many(250, count)
    data = as_data(data, batch_size=250, count=count)
    parts = list(batches(data, batch_size=250, count=count))
    return cast(Model, model), torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])


def _default(model: object) -> str:
    """The data set that the classifier's card names."""
    name = getattr(getattr(model, "card", None), "data", None)
    if not name:
        raise InputError(
            "expected images to attack the classifier on: give the marker data=, or return (classifier, x, y)"
        )
    return str(name)
