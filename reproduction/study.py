"""What a reproduction is made of: networks to train, figures to measure, the paper's table, and its claims.

A paper's file declares a `Study`; the engine knows nothing of papers, and a paper's file knows nothing of folders.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.core.registry import Registry
from advkit.models import Classifier
from advkit.training import Recipe

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """The size of a study: of its networks, its data and its training.

    Args:
        name: "small" (minutes on two cores), "paper" (the paper's own size) or "tiny" (for tests).
        data: spec of the user's own images, for studies that bring none.
        model: spec of the user's own network, for studies that train none.
        weights: weights of that network, as `load_model` takes them.
    """

    name: str
    data: str | None = None
    model: str | None = None
    weights: str | None = None

    def pick(self, *, tiny: T, small: T, paper: T) -> T:
        """Return the value for this budget.

        Args:
            tiny: value for tests, which check the machinery and no claim.
            small: value for two cores and twenty minutes.
            paper: value that the paper uses.
        """
        return {"tiny": tiny, "small": small, "paper": paper}[self.name]

    def digits(self, *options: str) -> str:
        """Return the spec of the digits without padding, as the papers take them: embedded ones, or MNIST for "paper".

        Args:
            *options: further options of the data set, such as "half=1".
        """
        inside = ", ".join(("pad=0", *options))
        return f"{self.pick(tiny='mnist5k', small='mnist5k', paper='mnist')}({inside})"


BUDGETS = {name: Budget(name) for name in ("small", "paper", "tiny")}
SHOWN = ("small", "paper")
"""Budgets that a user is offered."""


def find_budget(name: str) -> Budget:
    """Return the budget of this name.

    Raises:
        UnknownNameError: no such budget.
    """
    if name not in BUDGETS:
        raise unknown("budget", name, SHOWN)
    return BUDGETS[name]


class Cell(NamedTuple):
    """The place of a figure: which table, which row, which column."""

    table: str
    row: str
    column: str


@dataclass(frozen=True)
class Measured:
    """A figure, and the numbers of which it is the mean.

    Args:
        value: the figure.
        samples: one number for each image, so that two figures can be compared image by image; empty if there is none.
    """

    value: float
    samples: Sequence[float] = ()

    @classmethod
    def of(cls, samples: Tensor) -> "Measured":
        """Return the mean of one number for each image (N,); NaN marks an image that does not count.

        Args:
            samples: verdict or number of each image (N,).
        """
        numbers = samples.double().tolist()
        counted = [number for number in numbers if not math.isnan(number)]
        return cls(math.fsum(counted) / len(counted) if counted else math.nan, numbers)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A network of a study.

    Args:
        recipe: recipe of the training; its `data` is the spec of the training split, its seed is replaced.
        test: spec of the data set whose test split gives the clean error; by default the recipe's data.
        loss: training loss that no spec names; by default the loss of the recipe's defence, or the plain one.
    """

    recipe: Recipe
    test: str | None = None
    loss: Callable[..., Tensor] | None = None


Networks = Mapping[str, Classifier]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A group of figures that are measured together.

    Args:
        networks: names of the trainings that it looks at.
        measure: function of the trained networks by name and the seed, which gives figures by their cell.
    """

    networks: tuple[str, ...]
    measure: Callable[[Networks, int], Mapping[Cell, Measured]]


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Figures that need the networks of all seeds at once, such as a vote.

    Args:
        networks: names of the trainings that it looks at.
        measure: function of the trained networks by name, one for each seed, which gives figures by their cell.
    """

    networks: tuple[str, ...]
    measure: Callable[[Mapping[str, Sequence[Classifier]]], Mapping[Cell, Measured]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the paper.

    Args:
        title: what the table shows.
        where: its place in the paper, such as "table 1".
        checked: how the printed figures were checked.
        columns: columns and their units, "percent" (of fractions) or "number".
        printed: the paper's figures by row and column, in the units of ours; None where the paper prints none.
    """

    title: str
    where: str
    checked: str
    columns: Mapping[str, str]
    printed: Mapping[str, Mapping[str, float | None]]

    def cell(self, row: str, column: str) -> Cell:
        """Return the cell of a row and a column.

        Args:
            row: name of a row of `printed`.
            column: name of a column of `columns`.
        """
        assert row in self.printed, f"no row {row!r} in {self.where}"
        assert column in self.columns, f"no column {column!r} in {self.where}"
        return Cell(self.where, row, column)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A direction that the paper claims: one figure is smaller than another.

    Args:
        sentence: the claim in words.
        where: its place in the paper.
        smaller: cell of the figure that is smaller according to the paper.
        larger: cell of the figure that is larger according to the paper.
        over: "seeds" for a statement about a way of training, tested over trained networks; "images" for a
            statement about given networks, tested image by image for each network.
    """

    sentence: str
    where: str
    smaller: Cell
    larger: Cell
    over: str = "seeds"


def claims(sentences: Mapping[str, tuple[Cell, Cell, str]]) -> tuple[Claim, ...]:
    """Make claims from sentences; the place of each is that of the smaller figure's table.

    Args:
        sentences: the smaller figure, the larger one, and "seeds" or "images" (see `Claim`), by sentence.
    """
    return tuple(
        Claim(sentence=said, where=smaller.table, smaller=smaller, larger=larger, over=over)
        for said, (smaller, larger, over) in sentences.items()
    )


@dataclass(frozen=True, kw_only=True)
class Study:
    """The declaration of a reproduction.

    Args:
        title: title of the reproduction.
        paper: authors, title, year and arXiv number of the paper.
        trainings: the networks by name.
        measurements: measurements on the networks, by name.
        tables: the paper's tables.
        claims: the paper's claims, and our own; `differences` says which are ours.
        differences: differences between the paper's setting and this one, one sentence each.
        needs: what the user has to give before the study can run, in one line; empty if it can.
    """

    title: str
    paper: str
    trainings: Mapping[str, Training]
    measurements: Mapping[str, Measurement | Pooled]
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]
    differences: tuple[str, ...] = field(default=())
    needs: str = ""

    @property
    def settings(self) -> str:
        """Digest of the recipes, the data, and the measurements with their arguments; the code is not included."""
        parts: list[list[object]] = [[name, t.recipe, t.test, t.loss] for name, t in self.trainings.items()]
        parts += [[name, m.networks, m.measure] for name, m in self.measurements.items()]
        return hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(parts)).encode()).hexdigest()[:16]


STUDIES: Registry[Study] = Registry("reproduction", "advkit.reproduction.papers")


def list_reproductions(pattern: str = "*") -> list[str]:
    """List the names of the reproductions that match a shell pattern.

    Args:
        pattern: shell pattern such as "szegedy*"; by default all names.
    """
    return STUDIES.names(pattern)


def declared(
    name: str, budget: str, *, data: str | None = None, model: str | None = None, weights: str | None = None
) -> Study:
    """Return the study of this name at this budget.

    Args:
        name: name of a reproduction.
        budget: name of the budget.
        data: spec of the user's own images, for studies that bring none.
        model: spec of the user's own network, for studies that train none.
        weights: weights of that network, as `load_model` takes them.

    Raises:
        UnknownNameError: no such reproduction or budget.
        InputError: the study has its own data and networks.
    """
    make, size = STUDIES.factory(name), find_budget(budget)
    study = make(budget=replace(size, data=data, model=model, weights=weights))
    if (data or model or weights) and study.settings == make(budget=size).settings:
        raise InputError(f"{name} has its own data and networks: leave out data, model and weights")
    return study
