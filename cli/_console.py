"""Where results and progress go: results to stdout, progress to a terminal on stderr."""

import datetime
import os
import sys
import time
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

FIRST, LONGEST = 30.0, 600.0
"""Seconds before the first line of progress without a terminal, and at most between two lines."""

WIDE = 200
"""Columns of output that goes to a file or a pipe, unless $COLUMNS says otherwise."""


def console() -> Console:
    """Standard output: as wide as the terminal or $COLUMNS; no colours into a pipe or under NO_COLOR."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else WIDE
    return Console(width=width, highlight=False, markup=False, soft_wrap=False)


def table(*headings: str, right: Sequence[str] = (), text: Sequence[str] = ()) -> Table:
    """An empty table; columns named in `right` are aligned there, those in `text` may be broken into lines."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in map(harmless, headings):
        made.add_column(
            Text(heading), justify="right" if heading in right else "left", overflow="fold", no_wrap=heading not in text
        )
    return made


def show(made: Table) -> None:
    """Print a table to standard output; into a file without the blanks that fill its lines.

    A table that is wider than the output is printed as one block a row, so that no number is ever cut.
    """
    out = console()
    needed = out.measure(made, options=out.options.update(width=10_000)).maximum
    if needed > out.width and not any(column.no_wrap is False for column in made.columns):
        click.echo(_stacked(made))
        return
    if out.is_terminal:
        out.print(made)
        return
    with out.capture() as captured:
        out.print(made)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _stacked(made: Table) -> str:
    """Each row as a block: its first cell, then a line for each further cell with the heading."""
    columns = [[str(column.header), *map(str, column.cells)] for column in made.columns]
    blocks = []
    for first, *cells in zip(*(column[1:] for column in columns), strict=True):
        pairs = zip((column[0] for column in columns[1:]), cells, strict=True)
        blocks.append(
            "\n".join([first, *(f"  {head}: {cell}" if head else f"  {cell}" for head, cell in pairs if cell)])
        )
    return "\n".join(["", *blocks, ""])


def say(text: str) -> None:
    """Print a paragraph to standard output, broken at words on a terminal; control characters are escaped."""
    out = console()
    out.print(Text(harmless(text)), soft_wrap=not out.is_terminal)


def harmless(text: object) -> str:
    """Foreign text with its control characters escaped, so that it moves no cursor and forges no line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))


def percent(fraction: float | None) -> str:
    """0.0123 -> "1.2 %"; "-" where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


@contextmanager
def progress_bar(label: str) -> Iterator["Progress | None"]:
    """A bar with ETA on stderr, as a function (done, all); a line now and then where it is no terminal."""
    if not sys.stderr.isatty():
        yield Lines(label)
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


class Lines:
    """A line on stderr now and then, for batch jobs: the first after half a minute, then at growing distances.

    Args:
        label: what is done.
    """

    def __init__(self, label: str) -> None:
        self.label, self.begun = label, time.monotonic()
        self.due = FIRST

    def __call__(self, done: int, whole: int | None) -> None:
        """Say how far it is, if it is time."""
        passed = time.monotonic() - self.begun
        if passed < self.due:
            return
        self.due = min(self.due * 2, passed + LONGEST)
        share = f"{100 * done / whole:.0f} %" if whole else f"{done:,} passes"
        left = (
            f", about {datetime.timedelta(seconds=round(passed * (whole - done) / done))} left"
            if whole and done
            else ""
        )
        click.echo(f"{self.label}: {share} after {datetime.timedelta(seconds=round(passed))}{left}", err=True)
