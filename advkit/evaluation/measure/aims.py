"""The class to reach, by the name that the data give it."""

from difflib import get_close_matches
from typing import Any

from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.core.goals import TARGETS
from advkit.core.option_numbers import MOST, shown
from advkit.core.plain import is_integer, plain
from advkit.core.registry import Spec, parse_spec

Target = int | str | Tensor | None


def aim_at(target: Target, data: Any, *, option: str = "target") -> Target:
    """Return the target with the name or the digits of a class as its number; other forms as they are.

    Args:
        target: a class's name or number, a word such as "runner_up", a tensor with one class for each image, or None.
        data: the data, whose `classes` are the names. A class that is called as a word of the attacks takes precedence.
        option: name of the argument in messages.

    Raises:
        InputError: the text is neither a class nor such a word, or the number is none of the classes.
    """
    if not isinstance(target, str):
        return _number(target, option)
    names = _names(data)
    if target in names:
        return names.index(target)
    number = int(target) if target.isdecimal() and target.isascii() else None
    if names and (target.startswith("-") or (number is not None and number >= len(names))):
        raise InputError(f"{option}: expected a class from 0 to {len(names) - 1}, got {target}")
    if number is not None:
        return number
    if target in TARGETS:
        return target
    if not names or _only_numbers(names):
        raise InputError(
            f"{option}: expected a class by its number, or one of {', '.join(TARGETS)}, got {target!r}: "
            "these data have no names of classes"
        )
    raise _unknown(target, names)


def _number(target: Any, option: str) -> int | Tensor | None:
    """The number of a class, a tensor with one for each image, which the attacks check, or None."""
    target = plain(target)
    if target is None or isinstance(target, Tensor):
        return target
    if not is_integer(target) or not 0 <= target <= MOST:
        raise InputError(
            f"{option}: expected a class by its number or its name, or a tensor (N,), one an image, got {shown(target)}"
        )
    return int(target)


def one_class(target: Target, what: str) -> str | int:
    """Return the target of all images, for what is made once for all.

    Args:
        target: what `aim_at` returned.
        what: what is made, for the message.

    Raises:
        InputError: it is several classes, or none.
    """
    if not isinstance(target, int | str) or target == "all":
        raise InputError(f"expected target as one class for one {what}, got {shown(target)}")
    return target


def aimed(spec: str, data: Any) -> Spec:
    """Return the parsed spec of an attack; a class that its `target` names is the class's number.

    Args:
        spec: a name or a spec such as "pgd(eps=0.1, target=cat)".
        data: the data, or whatever else has the names as `classes`.

    Raises:
        InputError: the text is no spec, or the target is neither a class nor a word of the attacks.
    """
    parsed = parse_spec(spec)
    word = _word(parsed)
    if word is None:
        return parsed
    return Spec(parsed.name, {**parsed.options, "target": aim_at(word, data)})


def not_aimed(spec: str) -> Spec:
    """Return the parsed spec without a target that can only be the name of a class, for while there are no data.

    Args:
        spec: a name or a spec such as "pgd(eps=0.1, target=cat)".

    Raises:
        InputError: the text is no spec.
    """
    parsed = parse_spec(spec)
    word = _word(parsed)
    if word is None or word in TARGETS:
        return parsed
    return Spec(parsed.name, {key: value for key, value in parsed.options.items() if key != "target"})


def _word(spec: Spec) -> str | None:
    """The word or name that the spec gives as its target; None for a number, or none."""
    target = spec.options.get("target")
    word = target.name if isinstance(target, Spec) and not target.options else target
    return word if isinstance(word, str) else None


def _names(data: Any) -> list[str]:
    """The names of the classes of a data set, or of the one behind a loader."""
    names = getattr(data, "classes", None) or getattr(getattr(data, "dataset", None), "classes", None) or ()
    return list(names) if all(isinstance(name, str) for name in names) else []


def _unknown(target: str, names: list[str]) -> InputError:
    """The nearest name, or all names where they are few."""
    if len(names) <= 20 or get_close_matches(target, names, n=1, cutoff=0.6):
        return unknown("class", target, [*names, *TARGETS])
    return InputError(f"unknown class {target!r}; expected one of {len(names):,}, such as {names[0]!r}, or its number")


def _only_numbers(names: list[str]) -> bool:
    return all(name == str(number) for number, name in enumerate(names))
