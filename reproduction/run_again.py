"""A study that has been run: its figures beside the paper's, and the verdicts on its claims."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from advkit.core.saved import finite
from advkit.core.shown import Shown
from advkit.reproduction.study import Cell, Study
from advkit.reproduction.verdicts import Verdict


@dataclass(frozen=True)
class Figure:
    """One of our figures.

    Attributes:
        value: mean over the seeds.
        values: figure of each seed.
        interval: 95 % interval, Student's over seeds, or Wilson's over images for a single error; None if unknown.
        sd: standard deviation over the seeds.
    """

    value: float
    values: tuple[float, ...]
    interval: tuple[float, float] | None
    sd: float


@dataclass(frozen=True, kw_only=True)
class Reproduction(Shown):
    """A study that has been run.

    Attributes:
        name: name of the study.
        budget: name of its budget.
        seeds: number of seeds.
        study: the study as it is declared.
        figures: our figures by cell.
        verdicts: verdicts on the claims.
        seconds: processor time of all jobs, over all calls and processes.
        output: folder of the run.
        given: the user's own images and networks, by the options of the command, such as "data"; empty if none.
    """

    pictured: ClassVar[bool] = False

    name: str
    budget: str
    seeds: int
    study: Study
    figures: Mapping[Cell, Figure]
    verdicts: tuple[Verdict, ...]
    seconds: float
    output: Path
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The command that runs the study again, in the default folder."""
        options = {"budget": self.budget, "seeds": self.seeds, **self.given}
        return shlex.join(
            ["advkit", "reproduce", self.name, *(part for k, v in options.items() for part in (f"--{k}", str(v)))]
        )

    def records(self) -> list[dict[str, Any]]:
        """Return one row for each figure, with the paper's figure beside it."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for table in self.study.tables:
            for row, printed in table.printed.items():
                for column in table.columns:
                    figure = self.figures.get(Cell(table.where, row, column))
                    low, high = (None, None) if figure is None or figure.interval is None else figure.interval
                    yield {
                        "table": table.where,
                        "row": row,
                        "column": column,
                        "printed": printed.get(column),
                        "value": None if figure is None else finite(figure.value),
                        "low": low,
                        "high": high,
                        "values": [] if figure is None else [finite(value) for value in figure.values],
                    }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        claims = [
            {
                "claim": verdict.claim.sentence,
                "where": verdict.claim.where,
                "smaller": list(verdict.claim.smaller),
                "larger": list(verdict.claim.larger),
                "outcome": verdict.outcome,
                "p": finite(verdict.p),
                "test": verdict.test,
            }
            for verdict in self.verdicts
        ]
        about = {"name": self.name, "budget": self.budget, "seeds": self.seeds, "paper": self.study.paper}
        return {
            **about,
            "figures": self.records(),
            "claims": claims,
            "differences": list(self.study.differences),
            "seconds": round(self.seconds, 1),
        }
