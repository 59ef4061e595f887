"""Progress of long calls: a bar on a terminal or in a notebook, occasional lines elsewhere."""

import datetime
import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ParamSpec, TypeVar

from advkit.core.errors import InputError
from advkit.core.sheet import columns_of

P = ParamSpec("P")
R = TypeVar("R")

Progress = Callable[[int, int | None], None]
"""Called with (done, all); all is None if it is not known."""

FIRST, LONGEST = 30.0, 600.0
"""Seconds before the first line of progress without a terminal, and at most between two lines."""


def shows_progress(label: str, unit: str = "passes") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: `progress=True` becomes a bar called `label`; a progress function of the caller is kept.

    What is decorated raises InputError if `progress` is something else.
    """

    def around(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **options: P.kwargs) -> R:
            given = options.get("progress")
            if not (given is None or isinstance(given, bool) or callable(given)):
                raise InputError(
                    f"expected progress as True, or a function that is called with (done, all), got {given!r}"
                )
            if given is not True:
                return function(*args, **options)
            with progress_bar(label, unit) as tell:
                options["progress"] = tell
                return function(*args, **options)

        return call

    return around


@contextmanager
def progress_bar(label: str, unit: str = "passes") -> Iterator[Progress]:
    """Return a function (done, all) that shows a bar with ETA on stderr or in a notebook, or occasional lines."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, width=columns_of(sys.stderr))
    if console.is_jupyter and find_spec("IPython") is not None:
        bar_of_notebook = NotebookBar(label)
        try:
            yield bar_of_notebook
        finally:
            bar_of_notebook.close()
        return
    if not console.is_terminal:
        yield Lines(label, unit)
        return
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


class NotebookBar:
    """A bar in the output of a notebook's cell, drawn again at most ten times a second; it is removed at the end.

    Args:
        label: name of the work that is done.
    """

    def __init__(self, label: str) -> None:
        notebook: Any = import_module("IPython.display")  # a notebook has it
        self.label, self.html, self.begun, self.drawn = label, notebook.HTML, time.monotonic(), -1.0
        self.shown = notebook.display(self.html(self._text(0, None)), display_id=True)

    def __call__(self, done: int, whole: int | None) -> None:
        """Draw the progress if the last picture is old enough."""
        now = time.monotonic()
        if now - self.drawn >= 0.1:
            self.drawn = now
            self.shown.update(self.html(self._text(done, whole)))

    def close(self) -> None:
        """Leave nothing in the output."""
        self.shown.update(self.html(""))

    def _text(self, done: int, whole: int | None) -> str:
        passed = time.monotonic() - self.begun
        left = f", about {_clock(passed * (whole - done) / done)} left" if whole and done else ""
        share = f'value="{done}" max="{whole}"' if whole else ""
        return f"<div>{html.escape(self.label)} <progress {share}></progress> {_clock(passed)}{left}</div>"


class Lines:
    """Occasional progress lines on stderr, for batch jobs: the first after half a minute, then at growing intervals.

    Args:
        label: name of the work that is done.
        unit: what is counted, in the plural.
    """

    def __init__(self, label: str, unit: str = "passes") -> None:
        self.label, self.unit, self.begun = label, unit, time.monotonic()
        self.due = FIRST

    def __call__(self, done: int, whole: int | None) -> None:
        """Print the progress if the next line is due."""
        passed = time.monotonic() - self.begun
        if passed < self.due:
            return
        self.due = min(self.due * 2, passed + LONGEST)
        share = f"{100 * done / whole:.0f} % of {whole:,} {self.unit}" if whole else f"{done:,} {self.unit}"
        left = f", about {_clock(passed * (whole - done) / done)} left" if whole and done else ""
        sys.stderr.write(f"{self.label}: {share} after {_clock(passed)}{left}\n")
        sys.stderr.flush()


YEAR = 365.25 * 24 * 3600
"""Seconds."""


def _clock(seconds: float) -> str:
    if seconds > YEAR:
        return f"{seconds / YEAR:,.0f} years"
    return str(datetime.timedelta(seconds=round(seconds)))
