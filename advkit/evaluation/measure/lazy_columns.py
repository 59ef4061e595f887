"""Columns of a report: tensors with one value a sample, read from the batches whenever they are used."""

from typing import Any, Protocol, overload

import torch
from torch import Tensor

from advkit.evaluation.measure.tally import Samples


class HasColumns(Protocol):
    """A report: it knows the batches, and which of their columns are its own."""

    @property
    def samples(self) -> Samples: ...
    @property
    def place(self) -> int: ...


class Column:
    """One value a sample, (N,), read from the batches whenever it is used."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, report: None, owner: Any = None) -> "Column": ...
    @overload
    def __get__(self, report: HasColumns, owner: Any = None) -> Tensor: ...
    def __get__(self, report: HasColumns | None, owner: Any = None) -> "Tensor | Column":
        return self if report is None else column(report.samples, report.place, self._name)


def column(samples: Samples, place: int, name: str) -> Tensor:
    """Return one column of all batches (N,); False if the run is of an earlier version without it."""
    return torch.cat([parts[place].get(name, torch.zeros_like(parts[0]["clean_wrong"])) for parts in samples])
