"""The errors and warnings of advkit. Messages say what was seen, what was expected, and what to do."""

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches


class AdvkitError(Exception):
    """Anything that advkit itself raises."""


class InputError(AdvkitError, ValueError):
    """An error that the caller can fix by changing the input; the command line exits with 2."""


class UnknownNameError(InputError):
    """The name is not registered."""


class AdvkitWarning(UserWarning):
    """The run continues, but its result may be misleading."""


INSIDE = {"advkit", "torch", "contextlib"}
"""Packages whose lines lie between a caller's and the warning."""


def warn(text: str) -> None:
    """Emit an `AdvkitWarning` at the caller's line: the innermost one outside advkit.

    Args:
        text: what may mislead, and what to do.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, AdvkitWarning, stacklevel=level)


def unknown(what: str, name: str, known: Iterable[str], advice: str = "") -> UnknownNameError:
    """Return the error for an unknown name; it suggests the nearest name or lists all of them."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6) or [one for one in known if one.lower() == name.lower()]
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of: {', '.join(known)}"
    return UnknownNameError(f"unknown {what} {name!r}; {hint}{' ' + advice if advice else ''}")


def check_given(what: str, value: object, kinds: type | tuple[type, ...], example: str) -> None:
    """Check that an argument is of one of these types.

    Args:
        what: name of the argument.
        value: the argument.
        kinds: the types that it may have.
        example: what the caller gives instead, such as "a network (an nn.Module)".

    Raises:
        InputError: it is of another type.
    """
    if not isinstance(value, kinds):
        raise InputError(f"expected {what} as {example}, got {type(value).__name__}")
