"""Rendering of objects: their paragraphs and tables as plain text, HTML and LaTeX.

An object gives its text and cells (`Sheet`); this module decides how they look on a terminal, in a notebook or in a
paper.
"""

import html
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from advkit.core.words import harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column
    from rich.table import Table as RichTable

WIDE = 200
"""Columns of output that goes to a file or a pipe, unless $COLUMNS says otherwise."""


@dataclass(frozen=True)
class Table:
    """A table of text cells with headings.

    Attributes:
        headings: heading of each column.
        rows: cells of each row, as many as headings.
        right: headings of the columns that are aligned at the right.
        text: headings of the columns that may be broken into lines.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()
    text: Sequence[str] = ()


Sheet = Sequence[str | Table]
"""Paragraphs and tables, in their order."""


def as_text(sheet: Sheet) -> str:
    """Render the sheet as plain text, without colours and without blanks at the ends of lines.

    It is as wide as the terminal or $COLUMNS, and at most 200 columns in a file; paragraphs are broken on a terminal
    only. A table that is too wide becomes a block of lines for each row, so that no number is cut.
    """
    from rich.text import Text

    out = console(plain=True)
    lines = []
    for part in sheet:
        if isinstance(part, Table):
            lines.append(table_text(rich_table(part), out))
            continue
        with out.capture() as captured:
            out.print(Text(harmless(part)), soft_wrap=not sys.stdout.isatty())
        lines.append(captured.get().rstrip())
    return "\n".join(lines)


def console(*, plain: bool = False) -> "Console":
    """Return a console on standard output, as wide as the terminal or $COLUMNS; no colours if `plain` or in a pipe."""
    from rich.console import Console

    class Heard(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich would end the process with 1, as after a crash; the command knows the code

    width = columns_of(sys.stdout)
    bare = {"color_system": None, "force_terminal": False, "force_jupyter": False} if plain else {}
    return Heard(width=width, highlight=False, markup=False, soft_wrap=False, **bare)  # type: ignore[arg-type]


def columns_of(stream: TextIO) -> int | None:
    """Return the width of output to a stream; None leaves it to rich, which asks the terminal.

    $COLUMNS counts if it is a number from 1 up. Some schedulers and containers set it to 0.
    """
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return min(int(said), 10_000)
    if not stream.isatty():
        return WIDE
    return shutil.get_terminal_size().columns if said.isdigit() else None


def rich_table(table: Table) -> "RichTable":
    """Convert the table to a table of rich."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in table.headings:
        justify = "right" if heading in table.right else "left"
        broken = heading in table.text
        made.add_column(Text(harmless(heading)), justify=justify, overflow="fold", no_wrap=not broken)  # type: ignore[arg-type]
    for row in table.rows:
        made.add_row(*(Text(harmless(cell)) for cell in row))
    return made


def table_text(made: "RichTable", out: "Console") -> str:
    """Render the table as plain text, or as one block a row if it is wider than the output."""
    if not fit(made, out):
        return _stacked(made, out.width)
    with out.capture() as captured:
        out.print(made)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def fit(made: "RichTable", out: "Console") -> bool:
    """Fit the columns that may be broken into the free width; return whether every word of every cell fits.

    rich would shrink all columns alike, and cut what does not fit.
    """
    whole, words = zip(*(_widths(column) for column in made.columns), strict=True)
    between = out.measure(made, options=out.options.update(width=1_000_000)).maximum - sum(whole)
    spare = out.width - between - sum(words)
    for column, most, least in zip(made.columns, whole, words, strict=True):
        more = max(0, min(spare, most - least))
        column.width, spare = least + more, spare - more
    return bool(spare >= 0)


def _widths(column: "Column") -> tuple[int, int]:
    """What a column takes at most, and at least: where it may be broken, its longest word."""
    from rich.cells import cell_len

    texts = [str(text) for text in (column.header, *column.cells)]
    whole = max(map(cell_len, texts), default=0)
    return whole, whole if column.no_wrap else max((cell_len(w) for text in texts for w in text.split()), default=0)


def _stacked(made: "RichTable", width: int) -> str:
    """Each row as a block: its first cell, then a line for each further cell with the heading; broken at words."""
    columns = [[str(column.header), *map(str, column.cells)] for column in made.columns]
    blocks = []
    for first, *cells in zip(*(column[1:] for column in columns), strict=True):
        pairs = zip((column[0] for column in columns[1:]), cells, strict=True)
        blocks.append([first, *(f"  {head}: {cell}" if head else f"  {cell}" for head, cell in pairs if cell)])
    own = textwrap.TextWrapper(width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(["", *(line for block in blocks for text in block for line in own.wrap(text)), ""])


def as_html(sheet: Sheet, picture: str = "") -> str:
    """Render the sheet as HTML for a notebook; all text is escaped.

    Args:
        sheet: the paragraphs and tables.
        picture: data URI of a picture that is shown below.
    """
    parts = [_html_table(part) if isinstance(part, Table) else f"<p>{_html(part)}</p>" for part in sheet]
    shown = [f'<img alt="" style="max-width:100%" src="{_html(picture)}"/>'] if picture else []
    return "\n".join(['<div class="advkit">', *parts, *shown, "</div>"])


def _html(text: str) -> str:
    return html.escape(harmless(text))


WORDS = "text-align:left;padding:.2em .7em"
FIGURE = "text-align:right;padding:.2em .7em;white-space:nowrap"
"""The styles of cells. A number is never broken; a table that is too wide scrolls."""


def _html_table(table: Table) -> str:
    styles = [FIGURE if heading in table.right else WORDS for heading in table.headings]

    def line(tag: str, cells: Sequence[str]) -> str:
        made = (f'<{tag} style="{s}">{_html(c)}</{tag}>' for s, c in zip(styles, cells, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(line("td", row) for row in table.rows)
    head = line("th", table.headings)
    made = f"<table>\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table>"
    return f'<div style="overflow-x:auto">{made}</div>'


LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#", "_": r"\_", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip
"""Characters that mean something to LaTeX -> how they are written."""


def as_latex(sheet: Sheet) -> str:
    r"""Render the first table as a `tabular` with the rules of the package booktabs; paragraphs become comments."""
    place = next((i for i, part in enumerate(sheet) if isinstance(part, Table)), len(sheet))
    said = [f"% {harmless(part)}" for part in sheet if isinstance(part, str)]
    made = [_latex_table(part) for part in sheet[place : place + 1] if isinstance(part, Table)]
    return "\n".join([*said, *made])


def _latex_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(LATEX.get(c, c) for c in harmless(cell)) for cell in cells) + r" \\"

    sides = "".join("r" if heading in table.right else "l" for heading in table.headings)
    rows = [line(row) for row in table.rows]
    head = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", line(table.headings), r"\midrule"]
    return "\n".join([*head, *rows, r"\bottomrule", r"\end{tabular}"])
