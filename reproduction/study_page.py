"""report.html of a reproduction: the paper's tables beside ours and each claim with its test, without network."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from advkit._version import __version__
from advkit.evaluation.show.page import style
from advkit.reproduction.run_again import Reproduction
from advkit.reproduction.study import Cell, Table
from advkit.reproduction.wording import HOW_SURE, counted, figure_text, interval_text, verdict_text

if TYPE_CHECKING:
    from jinja2 import Template


def page(found: Reproduction) -> str:
    """Write the page as HTML."""
    return _template().render(
        version=__version__,
        style=style(),
        found=found,
        study=found.study,
        tables=[_table(table, found) for table in found.study.tables],
        claims=[(v.claim, v.outcome, verdict_text(v, found)) for v in found.verdicts],
        counted=counted(found),
        how_sure=HOW_SURE,
        command=found.command,
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("advkit.reproduction").joinpath("study.html").read_text("utf-8"))


def _table(table: Table, found: Reproduction) -> dict[str, Any]:
    """Make the rows of cells: the paper's figure, ours, its interval, each seed's; say whether the paper prints any."""
    rows = []
    for row, printed in table.printed.items():
        cells = []
        for column, unit in table.columns.items():
            figure = found.figures.get(Cell(table.where, row, column))
            values = () if figure is None else figure.values
            cells.append(
                {
                    "column": column,
                    "printed": figure_text(printed.get(column), unit),
                    "ours": figure_text(None if figure is None else figure.value, unit),
                    "interval": interval_text(figure, unit),
                    "seeds": ", ".join(figure_text(value, unit) for value in values),
                }
            )
        rows.append((row, cells))
    prints = any(value is not None for printed in table.printed.values() for value in printed.values())
    return {"table": table, "rows": rows, "prints": prints}
