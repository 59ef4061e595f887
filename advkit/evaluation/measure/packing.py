"""Packing of the columns of all batches as named tensors for one file, unpacking, and comparison."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from advkit.evaluation.measure.tally import Columns, Samples


def packed(samples: Samples) -> dict[str, Tensor]:
    """Return `"BATCH.PART.COLUMN"` -> values; part 0 is the clean pass."""
    return {
        f"{batch}.{part}.{name}": values
        for batch, parts in enumerate(samples)
        for part, columns in enumerate(parts)
        for name, values in columns.items()
    }


def unpacked(tensors: dict[str, Tensor]) -> list[Sequence[Columns]]:
    """Return the batches of `packed`.

    Raises:
        ValueError: a name has another form.
    """
    found: dict[int, dict[int, dict[str, Tensor]]] = {}
    for key, values in tensors.items():
        batch, part, name = key.split(".")
        found.setdefault(int(batch), {}).setdefault(int(part), {})[name] = values
    return [[parts[i] for i in range(len(parts))] for _, parts in sorted(found.items())]


def same(first: Samples, second: Samples, places: Iterable[tuple[int, int]]) -> bool:
    """Return whether these parts (positions in the first and the second) have the same values in all batches."""
    places = list(places)
    ones, others = iter(first), iter(second)
    for a in ones:
        b = next(others, None)
        if b is None or not all(_equal(a[i], b[j]) for i, j in places):
            return False
    return next(others, None) is None


def _equal(first: Columns, second: Columns) -> bool:
    return set(first) == set(second) and all(_alike(values, second[name]) for name, values in first.items())


def _alike(first: Tensor, second: Tensor) -> bool:
    """Equal values; NaN, as the confidence where there are no classes, equals itself."""
    return first.shape == second.shape and bool(((first == second) | (first.isnan() & second.isnan())).all())
