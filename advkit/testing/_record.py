"""The record of what the assertions measured, for the table at the end of a pytest run."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Figures = dict[str, Any]
"""Numbers, strings and None only: pytest-xdist sends them from one process to another."""

_sink: ContextVar[list[Figures] | None] = ContextVar("advkit_figures", default=None)


@contextmanager
def collecting() -> Iterator[list[Figures]]:
    """Context manager: everything that is noted inside the block is appended to the list."""
    figures: list[Figures] = []
    token = _sink.set(figures)
    try:
        yield figures
    finally:
        _sink.reset(token)


def note(figures: Figures) -> None:
    """Record figures, if a test run collects them."""
    sink = _sink.get()
    if sink is not None:
        sink.append(figures)
