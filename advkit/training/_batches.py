"""The batches of an epoch: choice and order of the images, their distribution over processes, reading, augmentation."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from advkit.core.errors import InputError
from advkit.data import Dataset, MemoryDataset


class HeldRows(Dataset):
    """Some of a data set's images, under the same name; `rows` (N,) are their numbers in the set."""

    def __init__(self, whole: Dataset, rows: Tensor) -> None:
        self.whole, self.rows = whole, rows
        self.name, self.split, self.classes = whole.name, whole.split, whole.classes
        self.labels, self.input_shape = whole.labels[rows], whole.input_shape

    def _images(self, rows: Tensor) -> Tensor:
        return self.whole[self.rows[rows]][0]


def hold_out(data: Dataset, count: int, seed: int) -> tuple[Dataset, Dataset | None]:
    """Split the images into those to train on and `count` others to validate with, drawn by `seed`; None for no split.

    Raises:
        InputError: no images would remain for training.
    """
    if not count:
        return data, None
    if count >= len(data):
        raise InputError(f"expected validation below the {len(data)} images of {data.name} {data.split}, got {count}")
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return HeldRows(data, rows[count:].sort().values), HeldRows(data, rows[:count].sort().values)


def in_memory(data: Dataset) -> bool:
    """Return whether reading images costs no more than indexing."""
    return isinstance(data, MemoryDataset) or (isinstance(data, HeldRows) and in_memory(data.whole))


class Plan(NamedTuple):
    """The division of an epoch into steps, and of a step into parts that pass through the network one after another."""

    images: int
    steps: int
    parts: int

    @classmethod
    def of(cls, images: int, batch_size: int, accumulate: int, processes: int) -> "Plan":
        """Make steps of equal size (up to one image), none above `batch_size`.

        Raises:
            InputError: a step has too few images for its parts and processes.
        """
        steps = -(-images // batch_size)
        if images // steps < accumulate * processes:
            raise InputError(
                f"expected an image for each of {accumulate} parts on {processes} processes in every step, "
                f"got steps of {images // steps}: raise batch_size or lower accumulate"
            )
        return cls(images, steps, accumulate)

    def rows(self, draws: torch.Generator) -> list[tuple[Tensor, ...]]:
        """Yield the row numbers of the parts of each step, in random order."""
        order = torch.randperm(self.images, generator=draws)
        return [step.tensor_split(self.parts) for step in order.tensor_split(self.steps)]


def read(data: Dataset, rows: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images and labels of each group of row numbers, on the device; `workers` processes read ahead."""
    if in_memory(data):
        yield from (data[part] for part in rows)
        return
    loader = DataLoader(
        data,
        sampler=[part.tolist() for part in rows],
        batch_size=None,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(0),  # else the loader draws its own from the global state
    )
    yield from ((x.to(device, non_blocking=True), y.to(device, non_blocking=True)) for x, y in loader)
