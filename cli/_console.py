"""Output of commands: results to stdout, progress to a terminal on stderr."""

from collections.abc import Sequence

import click
from rich.table import Table as RichTable
from rich.text import Text

from advkit.core.progress_bar import Lines as Lines
from advkit.core.progress_bar import progress_bar as progress_bar
from advkit.core.sheet import Table, fit, rich_table, table_text
from advkit.core.sheet import console as console
from advkit.core.words import harmless as harmless
from advkit.core.words import percent as percent


def table(*headings: str, right: Sequence[str] = (), text: Sequence[str] = ()) -> RichTable:
    """Make an empty table; columns in `right` are aligned right, those in `text` may be broken into lines."""
    return rich_table(Table(headings, (), right, text))


def show(made: RichTable) -> None:
    """Print a table to standard output; in a file, without trailing blanks.

    A table that is wider than the output is printed as one block a row, so that no number is cut.
    """
    out = console()
    if out.is_terminal and fit(made, out):
        out.print(made)
        return
    click.echo(table_text(made, out))


def say(text: str) -> None:
    """Print a paragraph to standard output, broken at words on a terminal; control characters are escaped."""
    out = console()
    out.print(Text(harmless(text)), soft_wrap=not out.is_terminal)
