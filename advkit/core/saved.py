"""Objects saved in one file: JSON, or safetensors with that JSON in the header if the object holds tensors.

Nothing is unpickled: a file from a stranger can be wrong, but it cannot run code.
"""

import json
import math
import os
from pathlib import Path
from typing import IO, Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.files import atomic_write

Content = tuple[dict[str, Any], dict[str, Tensor]]
"""What JSON takes, and tensors by name."""

VERSION = 1
"""Of the form of these files."""


def finite(value: float | None) -> float | None:
    """Return the number, or None if it is infinite, NaN or absent, which JSON cannot express."""
    return value if value is not None and math.isfinite(value) else None


def alike(first: Any, second: Any) -> bool:
    """Return whether two values are the same; tensors and dictionaries by what they hold, and NaN equals itself."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if (first.shape, first.dtype, first.device) != (second.shape, second.dtype, second.device):
            return False
        return bool(((first == second) | (first.isnan() & second.isnan())).all())
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(alike(value, second[key]) for key, value in first.items())
    return type(first) is type(second) and bool(first == second)


def write(path: str | os.PathLike[str], kind: str, content: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write an object of this kind atomically."""
    text = json.dumps({"advkit": kind, "format": VERSION, "content": _plain(content)}, indent=1, allow_nan=False)
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}

    def fill(file: IO[bytes]) -> None:
        if whole:
            safetensors.torch.save_file(whole, file.name, {"advkit": text})
        else:
            file.write(text.encode())

    atomic_write(path, fill)


def read(path: str | os.PathLike[str], kind: str) -> Content:
    """Read the content of a file that `write` wrote for this kind.

    Raises:
        InputError: there is no such file, or it holds another kind of object.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(8)  # of safetensors a length of 8 bytes, the last of them 0, which no JSON has
            text, tensors = _tensors(path) if b"\0" in head else (head + file.read(), {})
        record = json.loads(text)
        found, content = record["advkit"], _unplain(record["content"])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"expected {path} to hold a {kind} as its save() wrote it, got something else") from error
    if found != kind or not isinstance(content, dict) or record.get("format") != VERSION:
        raise InputError(f"expected {path} to hold a {kind} of format {VERSION}, got {found!r}")
    return content, tensors


def _tensors(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {})["advkit"].encode(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _plain(value: Any) -> Any:
    """What is no finite number as {"number": "inf"}, which JSON has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict):
        return float(value["number"]) if value.keys() == {"number"} else {k: _unplain(v) for k, v in value.items()}
    return [_unplain(inner) for inner in value] if isinstance(value, list) else value


def tuples(value: Any) -> Any:
    """Convert nested lists to tuples, the type of our objects' fields."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value
