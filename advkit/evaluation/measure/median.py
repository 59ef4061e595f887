"""Exact medians of more values than fit into memory, by their bits, 13 at a time."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

DIGIT, PASSES = 13, 5
"""Bits that one pass over the values settles, and how many passes settle the 63 bits of a float >= 0."""


FEW = 30_000
"""Maximum number of values that are sorted in memory."""

Parts = Callable[[], Iterable[Sequence[Tensor]]]
"""A function that starts a pass over the batches; a batch has a tensor (M,) float64 for each column, >= 0 or inf."""


def medians(parts: Parts, counts: Sequence[int]) -> list[float | None]:
    """Return the median of each column, as `statistics.median` defines it; None for no values.

    Args:
        parts: the columns, batch by batch.
        counts: number of values of each column in all batches.
    """
    if sum(counts) > FEW:
        return by_bits(parts, counts)
    columns = [torch.cat(column).sort().values for column in zip(*parts(), strict=True)]
    return [_middle(column.tolist()) if n else None for column, n in zip(columns, counts, strict=True)]


def _middle(values: Sequence[float]) -> float:
    """The median of sorted values."""
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def by_bits(parts: Parts, counts: Sequence[int]) -> list[float | None]:
    """Compute the medians in five passes, with the memory of one batch and some counts.

    Non-negative floats have the order of their bits. Each pass counts the values for each of the next 13 bits, among
    those with the same bits before.
    """
    middle = [(column, rank) for column, n in enumerate(counts) if n for rank in ((n - 1) // 2, n // 2)]
    found, left = [0] * len(middle), [rank for _, rank in middle]
    for shift in range(DIGIT * (PASSES - 1), -1, -DIGIT) if middle else ():
        seen = torch.zeros(len(middle), 1 << DIGIT, dtype=torch.int64, device="cpu")
        for part in parts():
            for i, (column, _) in enumerate(middle):
                bits = part[column].view(torch.int64) >> shift
                digits = bits[bits >> DIGIT == found[i]] & ((1 << DIGIT) - 1)
                seen[i] += torch.bincount(digits, minlength=1 << DIGIT)
        below = seen.cumsum(1)
        for i, rank in enumerate(left):
            digit = int(torch.searchsorted(below[i], rank, right=True))
            left[i] -= int(below[i, digit - 1]) if digit else 0
            found[i] = found[i] << DIGIT | digit
    values = iter(torch.tensor(found, dtype=torch.int64, device="cpu").view(torch.float64).tolist())
    return [(next(values) + next(values)) / 2 if n else None for n in counts]
