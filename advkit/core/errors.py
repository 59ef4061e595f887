"""The errors and warnings of advkit. Messages say what was seen, what was expected, and what to do."""

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


def unknown(what: str, name: str, known: Iterable[str], advice: str = "") -> UnknownNameError:
    """Return the error for an unknown name; it suggests the nearest name or lists all of them."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6) or [one for one in known if one.lower() == name.lower()]
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of: {', '.join(known)}"
    return UnknownNameError(f"unknown {what} {name!r}; {hint}{' ' + advice if advice else ''}")
