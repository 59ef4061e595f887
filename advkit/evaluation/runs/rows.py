"""samples.csv: one row a sample and attack."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from advkit.core.words import harmless
from advkit.evaluation.measure.tally import Columns

CLEAN = {
    "id": "sample_ids",
    "label": "y",
    "clean_prediction": "prediction",
    "clean_confidence": "clean_confidence",
    "clean_top5_wrong": "clean_top5_wrong",
}
"""Heading -> column of the clean pass."""

ATTACKED = {
    "prediction": "prediction",
    "success": "reached",
    "wrong": "wrong",
    "top5_wrong": "top5_wrong",
    "confidence": "confidence",
    "linf": "linf",
    "l2": "l2",
    "l1": "l1",
    "l0": "l0",
    "distance": "distance",
    "queries": "queries",
    "gradients": "gradients",
    "zero_gradient": "zero_gradient",
    "non_finite": "non_finite",
    "unsteady": "unsteady",
    "survives_8bit": "survives_8bit",
}
"""Heading -> column of an attack."""

HEADER = ["id", "attack", *list(CLEAN)[1:], *ATTACKED]


SIZE = "size"
"""Heading and column of what an attack measures of its own; only in runs that have such an attack."""


CERTIFIED = {"certified": "certified"}
"""Heading -> column of the certificate; only in runs that certify."""


FILE = "file"
"""Heading of the images' file names; only in runs whose data have them."""


def header(columns: list[Columns], *, named: bool = False) -> list[str]:
    """Return the headings for these columns, with the files of the images if they are `named`."""
    return [*HEADER, *([SIZE] if _measured(columns) else []), *_certified(columns), *([FILE] if named else [])]


def _measured(columns: list[Columns]) -> bool:
    """Whether any attack of the run measures its change in its own way."""
    return any(SIZE in row for row in columns[1:])


def _certified(columns: list[Columns]) -> dict[str, str]:
    return {head: name for head, name in CERTIFIED.items() if name in columns[0]}


def rows(columns: list[Columns], attacks: list[str], files: Sequence[str] = ()) -> Iterator[list[Any]]:
    """Yield the rows of a batch: every attack on the first sample, then on the next; without attacks, the clean pass.

    Args:
        columns: columns of the clean pass and of each attack.
        attacks: their specs.
        files: the file of every image of the data, by its number; empty if the data have no files.
    """
    clean, *attacked = columns
    heads, ends = _values(clean, CLEAN), _values(clean, _certified(columns)) or [()] * len(clean["y"])
    tails = [_values(row, ATTACKED) for row in attacked]
    if _measured(columns):
        tails = [_with_size(tail, row) for tail, row in zip(tails, attacked, strict=True)]
    if not attacked:
        tails = [_values({**clean, **_unattacked(clean)}, ATTACKED)]
    for head, end, *each in zip(heads, ends, *tails, strict=True):
        for attack, tail in zip(attacks or ["clean"], each, strict=True):
            file = [harmless(files[head[0]])] if files else []
            yield [head[0], attack, *head[1:], *tail, *end, *file]


def _values(columns: Columns, names: dict[str, str]) -> list[tuple[Any, ...]]:
    """One tuple a sample; truth values as 0 and 1, numbers so that they are read back exactly."""
    none = torch.zeros_like(next(iter(columns.values())), dtype=torch.bool)  # what a run of an earlier version lacks
    lists = [_plain(columns.get(name, none)) for name in names.values()]
    return list(zip(*lists, strict=True))


def _with_size(tail: list[tuple[Any, ...]], row: Columns) -> list[tuple[Any, ...]]:
    """The rows with one value more; an empty one where the attack has no measure of its own."""
    sizes = _plain(row[SIZE]) if SIZE in row else [""] * len(tail)
    return [(*values, size) for values, size in zip(tail, sizes, strict=True)]


def _plain(column: torch.Tensor) -> list[Any]:
    return (column.long() if column.dtype == torch.bool else column).tolist()


def _unattacked(clean: Columns) -> Columns:
    """What an attack that does nothing would have left."""
    wrong = clean["clean_wrong"]
    nothing, none = torch.zeros_like(clean["clean_confidence"]), torch.zeros_like(clean["y"])
    sizes = dict.fromkeys(("linf", "l2", "l1", "l0", "distance"), nothing)
    flags = dict.fromkeys(("reached", "wrong", "survives_8bit"), wrong)
    never = dict.fromkeys(("zero_gradient", "non_finite", "unsteady"), torch.zeros_like(wrong))
    flags = {**flags, **never, "top5_wrong": clean["clean_top5_wrong"]}
    return {**sizes, **flags, "queries": none + 1, "gradients": none, "confidence": clean["clean_confidence"]}
