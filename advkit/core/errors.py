"""The one family of errors and warnings: what was seen, what was expected, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class AdvkitError(Exception):
    """Anything that advkit itself raises."""


class InputError(AdvkitError, ValueError):
    """The caller can mend this by changing the input; the command line exits with 2."""


class UnknownNameError(InputError):
    """A name that no registry knows."""


class AdvkitWarning(UserWarning):
    """The run goes on, but its result may not mean what it seems to mean."""


def unknown(what: str, name: str, known: Iterable[str], advice: str = "") -> UnknownNameError:
    """An error for a wrong name, with the nearest right one or the whole list."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of: {', '.join(known)}"
    return UnknownNameError(f"unknown {what} {name!r}; {hint}{' ' + advice if advice else ''}")
