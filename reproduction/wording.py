"""A reproduction in words and tables: figures with their units, verdicts as sentences."""

import math
from collections.abc import Iterator

from advkit.core.sheet import Sheet
from advkit.core.sheet import Table as Sheeted
from advkit.core.shown import sheet_of
from advkit.reproduction.run_again import Figure, Reproduction
from advkit.reproduction.study import Cell, Table
from advkit.reproduction.verdicts import LEVEL, Verdict

HOW_SURE = (
    "Intervals are 95 %: Student's over the seeds; Wilson's over the images where there is one network, or all agree. "
    f"Each claim is tested by itself, two-sided, at level {LEVEL:g}: of twenty claims about nothing, one is decided."
)
"""How to read figures and verdicts."""


def figure_text(value: float | None, unit: str) -> str:
    """Write a figure in its unit, such as "1.62 %" or "0.0621"; "-" for none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:.2f} %" if unit == "percent" else f"{value:.3g}"


def interval_text(figure: Figure | None, unit: str) -> str:
    """Write the interval of a figure in its unit, without the sign of the unit."""
    if figure is None or figure.interval is None or not all(map(math.isfinite, figure.interval)):
        return "-"
    low, high = figure.interval
    if unit == "percent":
        return f"{100 * max(low, 0.0):.2f} to {100 * min(high, 1.0):.2f}"
    return f"{low:.3g} to {high:.3g}"


def p_text(p: float) -> str:
    """Write a p-value as "p = 0.003" or "p < 0.0001", or say that there is none."""
    if math.isnan(p):
        return "no p-value"
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def verdict_text(verdict: Verdict, found: Reproduction) -> str:
    """Write a verdict, such as "1.28 % against 1.62 %: p = 0.003 (paired t-test over 3 seeds)"."""
    claim, units = verdict.claim, {(t.where, column): u for t in found.study.tables for column, u in t.columns.items()}
    figures = (
        figure_text(value, units[cell.table, cell.column])
        for value, cell in ((verdict.smaller, claim.smaller), (verdict.larger, claim.larger))
    )
    return f"{' against '.join(figures)}: {p_text(verdict.p)} ({verdict.test})"


def lines(table: Table, found: Reproduction) -> Iterator[list[str]]:
    """Yield the lines of a table: row, column, the paper's figure, ours and its interval."""
    for row, printed in table.printed.items():
        for column, unit in table.columns.items():
            figure = found.figures.get(Cell(table.where, row, column))
            if figure is None and printed.get(column) is None:
                continue
            ours = figure_text(None if figure is None else figure.value, unit)
            yield [row, column, figure_text(printed.get(column), unit), ours, interval_text(figure, unit)]


def counted(found: Reproduction) -> str:
    """Count the verdicts, such as "Of 5 claims: 3 confirmed, 0 contradicted, 2 left open."."""
    outcomes = [verdict.outcome for verdict in found.verdicts]
    numbers = (f"{outcomes.count(outcome)} {said}" for outcome, said in OUTCOMES.items())
    return f"Of {len(outcomes)} claims: {', '.join(numbers)}."


OUTCOMES = {"confirmed": "confirmed", "contradicted": "contradicted", "open": "left open"}


@sheet_of.register
def _(found: Reproduction) -> Sheet:
    study = found.study
    said: list[str | Sheeted] = [f"{study.title}. {study.paper}", f"Budget {found.budget}, {_seeds(found.seeds)}."]
    headings = ["", "figure", "paper", "ours", "95 % interval"]
    for table in study.tables:
        said += [f"{table.title} ({table.where}; the paper's figures: {table.checked})"]
        said += [Sheeted(headings, list(lines(table, found)), right=headings[2:])]
    said += [counted(found)]
    said += [f"- {v.outcome}: {v.claim.sentence} {verdict_text(v, found)}" for v in found.verdicts]
    said += [HOW_SURE, "What differs from the paper:", *(f"- {difference}" for difference in study.differences)]
    return [*said, f"{found.seconds / 60:.1f} minutes of processor time. Page: {found.output / 'report.html'}"]


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
