"""What a pass borrows: for its length an entry of a module is another one, and then it is what it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

_NOTHING = object()


class Loan(NamedTuple):
    """An entry of a module that is another one during a pass."""

    place: dict[str, Any]
    """The module's `__dict__`, or its `_parameters`."""
    name: str
    value: Any


@contextmanager
def lent(loans: Sequence[Loan]) -> Iterator[None]:
    """Context manager: inside, the modules hold what they borrow; on leaving, also by an exception, their own."""
    own = [place.get(name, _NOTHING) for place, name, _ in loans]
    try:
        for place, name, value in loans:
            place[name] = value
        yield
    finally:
        for (place, name, _), value in zip(loans, own, strict=True):
            if value is _NOTHING:
                place.pop(name, None)
            else:
                place[name] = value
