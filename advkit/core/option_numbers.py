"""Numbers and words among the options of a spec or of an entry of a registry: what is neither is refused."""

import ast
import inspect
import math
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from advkit.core.errors import InputError
from advkit.core.words import has_digits

NO_NUMBERS = ("inf", "infinity", "nan")
"""Names of what is no finite number; no entry has them."""

WORDS = {"true": True, "false": False}
"""What people write for Python's True and False; as names of something both would count as true."""

MOST = 2**63 - 1
"""The largest integer of torch."""

RADIUS = "eps"
"""The option that a text such as "8/255" may give, and that may be infinite; its own check tells."""

MOST_SHOWN = 60
"""Number of letters of a wrong value that a message shows."""


def number_in_spec(name: str, node: ast.expr, value: Callable[[ast.expr], Any], text: str) -> Any:
    """Return the value of an option in a spec.

    Args:
        name: name of the option.
        node: the value as the spec writes it.
        value: function that reads it.
        text: the whole spec, as it was written.

    Raises:
        InputError: a number in it is infinite, NaN, too large, or so small that a float holds it as 0.
    """
    if name == RADIUS and isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    try:
        found = value(node)
        endless = not _finite(found)
    except ArithmeticError:
        endless = True
    if endless:
        raise InputError(f"expected {name} as a finite number, such as 0.03 or 8/255, got {_written(node, text)}")
    for part in ast.walk(node):
        if isinstance(part, ast.expr) and _vanishes(part, value, text):
            raise InputError(f"expected {name} as a number that a float can hold, got {_written(part, text)}")
    return found


def _vanishes(node: ast.expr, value: Callable[[ast.expr], Any], text: str) -> bool:
    """Whether it is written as a number other than 0, which a float holds as 0."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return bool(value(node) == 0 != value(node.left))
    if not (isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value == 0):
        return False
    return has_digits(_written(node, text))


def _written(node: ast.expr, text: str) -> str:
    """A part of a spec as it was written, in one line; Python's own writing makes 1e309 of 1e400."""
    return _short(" ".join((ast.get_source_segment(text, node) or ast.unparse(node)).split()))


def check_name(node: ast.Name) -> None:
    """Raise ArithmeticError for the name of what is no finite number."""
    if node.id.lower() in NO_NUMBERS:
        raise ArithmeticError(node.id)


def check_kinds(entry: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check the options that a factory annotates as numbers or words; which of them it takes is the factory's matter.

    Args:
        entry: name of the entry in messages, such as "attack 'pgd'".
        factory: class or function with annotated parameters.
        options: options by name.

    Raises:
        InputError: an option is no word, no number, no finite one, or no integer where one is expected.
    """
    for name, parameter in inspect.signature(factory).parameters.items():
        kinds = kinds_of(parameter.annotation) - {type(None)}
        if name not in options or not kinds or not (kinds <= {int, float} or kinds == {str}):
            continue
        value, optional = options[name], type(None) in kinds_of(parameter.annotation) or parameter.default is None
        if not (optional if value is None else _fits(name, value, kinds)):
            word = "a word" if kinds == {str} else "a finite number" if float in kinds else "an integer"
            raise InputError(f"{entry} expects {name} as {word}, got {shown(value)}")


def kinds_of(annotation: Any) -> set[Any]:
    """Return the types of a union, or the one type that an annotation names."""
    return set(get_args(annotation)) if get_origin(annotation) in (UnionType, Union) else {annotation}


def shown(value: Any) -> str:
    """Return a value as a message shows it: short and in one line; Python writes no integers of thousands of digits."""
    if is_huge(value):
        return f"an integer of {value.bit_length()} bits"
    try:
        return _short(" ".join(repr(value).split()))
    except ValueError:
        return f"{type(value).__name__} with an integer of thousands of digits"


def is_huge(value: Any) -> bool:
    """Return whether a value is an integer that torch cannot hold."""
    return isinstance(value, int) and abs(value) > MOST


def _fits(name: str, value: Any, kinds: set[Any]) -> bool:
    if kinds == {str}:
        return isinstance(value, str)
    if hasattr(value, "ndim"):  # NumPy's and torch's
        return _fits(name, value.item(), kinds) if value.ndim == 0 else name == RADIUS
    if name == RADIUS and (isinstance(value, str) or value == math.inf):
        return True
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        return False
    if isinstance(value, int):
        return not is_huge(value)
    return float in kinds and math.isfinite(value)


def _finite(value: Any) -> bool:
    """Whether no number in it is infinite, NaN, or too large for a float."""
    if isinstance(value, list | tuple | set):
        return all(map(_finite, value))
    if isinstance(value, dict):
        return all(map(_finite, [*value, *value.values()]))
    return not isinstance(value, int | float) or math.isfinite(value)  # large integers: OverflowError


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
