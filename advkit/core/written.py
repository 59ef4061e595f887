"""How an option's value is written in a spec, so that `parse_spec` reads it as an equal one."""

import hashlib
from fractions import Fraction
from keyword import iskeyword
from typing import Any

from torch import Tensor

from advkit.core.contents import tensor_bytes
from advkit.core.option_numbers import NO_NUMBERS, WORDS
from advkit.core.words import number


def written(value: Any) -> str:
    """Return the text of a value in a spec.

    A number, a word, a tuple and an attack or loss with a spec of its own are read back as they were. A tensor and a
    function have no text: shape and digest, or the name, stand for them, and an entry refuses these in one line.

    Args:
        value: the value of an option.
    """
    if isinstance(spec := getattr(value, "spec", None), str):
        return spec
    if getattr(value, "ndim", None) == 0:
        value = value.item()  # NumPy's and torch's numbers
    if isinstance(value, Fraction):
        value = float(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return value if _is_bare(value) else repr(value)
    if isinstance(value, Tensor) or hasattr(value, "tobytes"):
        return repr(_tensor(value))
    if callable(value):
        name = str(getattr(value, "__qualname__", type(value).__qualname__))
        return name if _is_bare(name) else repr(name)
    return _inside(value)


def _is_bare(word: str) -> bool:
    """Whether the reader takes the word for a word without quotes."""
    return word.isidentifier() and not iskeyword(word) and word.lower() not in (*NO_NUMBERS, *WORDS)


def _inside(value: Any) -> str:
    """The value as Python writes it, a literal in a tuple, a list or a dictionary too."""
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, tuple):
        return f"({', '.join(map(_inside, value))}{',' * (len(value) == 1)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_inside, value))}]"
    return " ".join(repr(value).split()) if not isinstance(value, str) else repr(value)


def _tensor(value: Any) -> str:
    data = tensor_bytes(value) if isinstance(value, Tensor) else value.tobytes()
    return f"tensor of shape {tuple(value.shape)}, sha256 {hashlib.sha256(data).hexdigest()[:8]}"
