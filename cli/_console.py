"""Where results and progress go: results to stdout, progress to a terminal on stderr."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from advkit.evaluation import Progress

WIDE = 200
"""Columns of output that goes to a file or a pipe, unless $COLUMNS says otherwise."""


def console() -> Console:
    """Standard output: as wide as the terminal or $COLUMNS; no colours into a pipe or under NO_COLOR."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else WIDE
    return Console(width=width, highlight=False, markup=False, soft_wrap=False)


def table(*headings: str, right: Sequence[str] = (), text: Sequence[str] = ()) -> Table:
    """An empty table; columns named in `right` are aligned there, those in `text` may be broken into lines."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(
            Text(heading), justify="right" if heading in right else "left", overflow="fold", no_wrap=heading not in text
        )
    return made


def show(made: Table) -> None:
    """Print a table to standard output; into a file without the blanks that fill its lines."""
    out = console()
    if out.is_terminal:
        out.print(made)
        return
    with out.capture() as captured:
        out.print(made)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def say(text: str) -> None:
    """Print a paragraph to standard output, broken at words on a terminal."""
    out = console()
    out.print(Text(text), soft_wrap=not out.is_terminal)


def percent(fraction: float | None) -> str:
    """0.0123 -> "1.2 %"; "-" where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


@contextmanager
def progress_bar(label: str) -> Iterator["Progress | None"]:
    """A bar with ETA on stderr, as a function (done, all); None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)
