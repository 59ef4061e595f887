"""Data of any accepted kind as one stream of numbered batches."""

import os
import traceback
from collections.abc import Callable, Iterator, Sized
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, default_collate

from advkit.core.advice import batch_advice
from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.words import harmless
from advkit.data._dataset import Dataset
from advkit.data._pairs import pair


class Batch(NamedTuple):
    """Some images of the data, as they are handed to an attack.

    Attributes:
        x: images (N, C, H, W).
        y: labels (N,) int64.
        sample_ids: numbers of the images in the data (N,) int64.
    """

    x: Tensor
    y: Tensor
    sample_ids: Tensor


def chosen(length: int, count: int | None) -> Tensor:
    """Return the numbers (count,) of the images to use, ascending: all, or a fixed random choice.

    The choice is random, since data that are sorted by class would otherwise give one class. It is fixed and does not
    depend on the attack's seed, so that figures stay comparable. A larger count contains the choice of a smaller one.
    """
    if count is None or count >= length:
        return torch.arange(length, device="cpu")
    return torch.randperm(length, generator=torch.Generator().manual_seed(0), device="cpu")[:count].sort().values


def how_many(batch_size: Any, count: Any) -> tuple[int, int | None]:
    """Check the number of images in a batch, and that in all, which may be None: all there are."""
    asked = None if count is None else check_count("count", count, advice="; leave it out to take all")
    return check_count("batch_size", batch_size), asked


def total(data: Any, count: int | None) -> int | None:
    """Return the number of images that `batches` yields; None if a loader does not know its length."""
    if isinstance(data, DataLoader):
        length = _images_of(data)
    else:
        source = data[0] if isinstance(data, tuple | list) else data
        length = len(source) if isinstance(source, Sized) else None
    return length if count is None or length is None else min(length, count)


def said_length(loader: DataLoader[Any]) -> int | None:
    """Return the number of batches that a loader says it has; None if it does not say."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def _images_of(loader: DataLoader[Any]) -> int | None:
    """The images that a loader says it has; None if it says batches alone, as one with batches of its own making."""
    plan = loader.batch_sampler
    if type(plan) is not BatchSampler or said_length(loader) is None:
        return None
    source = loader.dataset if isinstance(loader.dataset, IterableDataset) else plan.sampler
    length = len(source) if isinstance(source, Sized) else 0
    return length - length % plan.batch_size if plan.drop_last else length


def batches(data: Any, *, batch_size: int, count: int | None) -> Iterator[Batch]:
    """Iterate over the data in order, a batch at a time.

    Args:
        data: an advkit Dataset, any map-style torch data set of (image, label), a DataLoader of (images, labels),
            whose own batches are kept and whose order numbers the samples, or a pair of tensors (x, y).
        batch_size: number of images in a batch; a DataLoader keeps its own.
        count: number of images to use, see `chosen`; of a DataLoader, the first ones. Default: all.

    Raises:
        InputError: the data are of another kind, a batch is no pair, or there are no images.
    """
    for _, _, batch in numbered(data, batch_size=batch_size, count=count):
        assert batch is not None
        yield batch


def numbered(
    data: Any, *, batch_size: int, count: int | None, wanted: Callable[[int], bool] = lambda number: True
) -> Iterator[tuple[int, int, Batch | None]]:
    """Like `batches`, with number and size of each; unwanted batches are None and are not read (except by a loader).

    Raises:
        InputError: see `batches`.
    """
    number = 0
    for ids, read in _stream(data, batch_size, count):
        if len(ids):
            yield number, len(ids), Batch(*read(), ids) if wanted(number) else None
            number += 1
    if not number:
        raise InputError(f"expected at least one image, got empty data{_left_out(data)}")


def _left_out(data: Any) -> str:
    """Say where the images of a loader without batches are; empty if it has none."""
    given = data.dataset if isinstance(data, DataLoader) and getattr(data, "drop_last", False) else ()
    if not (isinstance(given, Sized) and len(given)):
        return ""
    return f": the loader leaves out its only batch, of {len(given)}; drop_last=False keeps it"


Read = Callable[[], tuple[Tensor, Tensor]]


def _stream(data: Any, batch_size: int, count: int | None) -> Iterator[tuple[Tensor, Read]]:
    """The numbers of each batch, and what reads it."""
    if isinstance(data, DataLoader):
        yield from _loaded(data, count)
    elif isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        x, y = data
        if len(x) != len(y):
            raise InputError(
                f"expected as many labels as images, got {len(x)} images and {len(y)} labels{batch_advice(x, y)}"
            )
        for ids in _parts(len(x), count, batch_size):
            yield ids, partial(_rows, x, y, ids)
    elif isinstance(data, Dataset):
        for ids in _parts(len(data), count, batch_size):
            yield ids, partial(data.__getitem__, ids)
    elif (
        hasattr(data, "__getitem__") and isinstance(data, Sized) and not isinstance(data, Tensor | tuple | list | dict)
    ):
        for ids in _parts(len(data), count, batch_size):
            yield ids, partial(_items, data, ids)
    else:
        raise InputError(
            f"expected data as a Dataset, a DataLoader or a pair of tensors (x, y), got {type(data).__name__}; "
            "load_data('mnist5k') gives a Dataset"
        )


def _rows(x: Tensor, y: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    return x[ids.to(x.device)], y[ids.to(y.device)]


def _items(data: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    return _collated([data[i] for i in ids.tolist()])


def _parts(length: int, count: int | None, batch_size: int) -> Iterator[Tensor]:
    """The chosen numbers, a batch at a time."""
    if count is None or count >= length:
        return (
            torch.arange(start, min(start + batch_size, length), device="cpu") for start in range(0, length, batch_size)
        )
    ids = chosen(length, count)
    return (ids[start : start + batch_size] for start in range(0, len(ids), batch_size))


def _loaded(loader: DataLoader[Any], count: int | None) -> Iterator[tuple[Tensor, Read]]:
    """A loader's own batches, numbered as they come, cut after `count` images; one that may never end is refused."""
    seen, workers = 0, _Workers(loader)
    for number, batch in enumerate(_given(loader)):
        x, y = _pair(batch)
        workers.look(number, x, y)
        if count is None and _beyond(loader, number + 1, seen + len(x)):
            raise InputError(
                f"expected the loader to end after len(loader) = {said_length(loader)}, got more batches: "
                "its sampler or data set may never end; give count=N"
            )
        keep = len(x) if count is None else min(len(x), count - seen)
        yield torch.arange(seen, seen + keep, device="cpu"), partial(_rows, x, y, torch.arange(keep, device="cpu"))
        seen += keep
        if seen == count:
            return


def _given(loader: DataLoader[Any]) -> Iterator[Any]:
    """A loader's batches; items that torch cannot put together are told what to do.

    Raises:
        InputError: images of several sizes, or items that are no tensors.
    """
    try:
        yield from loader
    except (TypeError, RuntimeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        if not any("collate.py" in place for place in (last, str(error))):  # a worker's error holds its traceback
            raise
        said = str(error).strip().splitlines()[-1]
        advice = "resize them, or give the loader batch_size=1"
        if "PIL" in said:
            advice = "torchvision's ToTensor() makes tensors of pictures"
        raise InputError(f"the loader cannot make a batch of its items: {said}; {advice}") from error


class _Workers:
    """Whether each worker of a stream reads the whole of it: the batches of a round, one a worker, are then equal.

    Batches whose rows are all alike may be equal by chance: they prove it once the next round is equal too, and other.

    Args:
        loader: the loader.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.count = loader.num_workers
        self.unsure = isinstance(loader.dataset, IterableDataset) and self.count > 1
        self.before: tuple[Tensor, Tensor] | None = None
        self.first: tuple[Tensor, Tensor] | None = None

    def look(self, number: int, x: Tensor, y: Tensor) -> None:
        """Compare the batch of this number, (N, ...) and (N,), with the first of its round.

        Raises:
            InputError: each worker reads the whole stream, and all images count several times.
        """
        if self.unsure and number % self.count == 0:
            self.before, self.first = self.first, (x, y)
        elif self.unsure and self.first is not None:
            self.unsure = _equal(self.first, (x, y))
            moved = self.before is not None and not _equal(self.before, self.first)
            if self.unsure and (moved or bool((x != x[:1]).any() or (y != y[:1]).any())):
                raise InputError(
                    f"expected other images from each of the loader's {self.count} workers, got the same: each reads "
                    "the whole stream; share it out by torch.utils.data.get_worker_info(), or give num_workers=0"
                )


def _equal(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def _beyond(loader: DataLoader[Any], batches: int, images: int) -> bool:
    """Whether a loader gave more than it said; the workers of a stream may each end with a batch that is not full."""
    streamed = isinstance(loader.dataset, IterableDataset) and loader.batch_size is not None
    said, given = (_images_of(loader), images) if streamed else (said_length(loader), batches)
    return said is not None and given > said


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    x, y = pair(batch)
    if not y.ndim:
        raise InputError(
            f"expected labels (N,), one an image, got one number for {len(x)} images: give the loader a batch_size"
        )
    return x, y


def _collated(items: list[Any]) -> tuple[Tensor, Tensor]:
    """Single (image, label) items as one batch."""
    pairs = [pair(item) for item in items]
    try:
        return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"expected items (image, label) of one size: {error}; resize them, or give a DataLoader with batch_size=1"
        ) from error


def image_files(data: Any) -> list[str] | None:
    """Return the file of every image, relative to their common folder; None if the data have no files.

    Data sets of advkit and torchvision's ImageFolder have files, and so has a DataLoader of one that keeps all images
    and their order. One with a `collate_fn` of its own may leave images out.
    """
    source = data
    if isinstance(data, DataLoader):
        order = getattr(data.batch_sampler, "sampler", None)
        plain = type(data.batch_sampler) is BatchSampler and data.collate_fn is default_collate
        source = data.dataset if plain and type(order) is SequentialSampler else None
    files = getattr(source, "files", None) or [sample[0] for sample in getattr(source, "samples", None) or ()]
    if not files or not all(isinstance(file, str | os.PathLike) for file in files):
        return None
    paths = [os.fspath(file) for file in files]
    shared = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    return [harmless(os.path.relpath(os.path.abspath(path), shared)) for path in paths]


def origin(data: Any) -> str:
    """Return the name of the data, such as `"mnist5k:test"`, or the empty string."""
    source = data.dataset if isinstance(data, DataLoader) else data
    name, split = getattr(source, "name", None), getattr(source, "split", None)
    return f"{name}:{split}" if isinstance(name, str) and isinstance(split, str) else ""
