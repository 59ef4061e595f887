"""The call that broke a promise, as code that runs: `attack` is the attack, the rest is made from seeds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from advkit.testing._toys import SHAPE, awkward_images

SEEDS, ROWS = range(32), 28
"""Where the checks' images come from."""


def reproduction(check: str, call: tuple[Any, Tensor, Tensor, Mapping[str, Any]] | None) -> str:
    """Return lines that run the check again and, if model and images can be written as code, its last call.

    Args:
        check: name of the check.
        call: last call of the attack as (model, x, y, options), if there was one.
    """
    again = f"from advkit.testing import *\ncheck_attack(attack, only=[{check!r}])"
    if call is None:
        return again
    model, x, y, options = call
    made, images = repr(model), _images(x)
    if "\n" in made or not made.endswith(")") or made.startswith("<") or images is None:
        return again
    given = "".join(f", {name}={_value(value)}" for name, value in options.items())
    return f"{again}\nimport torch\nfound = attack({made}, {images}, {_value(y)}{given})"


def _images(x: Tensor) -> str | None:
    """The rows of `awkward_images` that these are; None if they are no such rows."""
    shape = tuple(x.shape[1:])
    given = "" if shape == SHAPE else f", {shape}"
    cast = "" if x.dtype == torch.float64 else f".to({x.dtype})"
    for seed in SEEDS:
        rows = awkward_images(ROWS, shape, seed=seed).to(x.dtype)
        same = (rows[None] == x.detach()[:, None]).flatten(2).all(2)  # (N, ROWS)
        if bool(same.any(1).all()):
            whole = bool(same[range(len(x)), range(len(x))].all()) if len(x) <= ROWS else False
            index = same.to(torch.int8).argmax(1).tolist()
            pick = "" if whole else f"[{index}]"
            return f"awkward_images({len(x) if whole else ROWS}{given}, seed={seed}){pick}{cast}"
    return None


def _value(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    kind = f", dtype={value.dtype}" if value.is_floating_point() or not value.numel() else ""
    return f"torch.tensor({value.tolist()}{kind})"
