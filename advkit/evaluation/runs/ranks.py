"""Several processes on one evaluation: ranks, the distribution of batches, and barriers."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch.distributed as dist

from advkit.core.errors import InputError


class Place(NamedTuple):
    """The rank of this process among those that share the work."""

    rank: int
    world: int

    @property
    def first(self) -> bool:
        """Whether this process writes the common files."""
        return self.rank == 0


def place() -> Place:
    """Return this process's rank in the process group of `torchrun` or the caller; without a group, 0 of 1."""
    if not (dist.is_available() and dist.is_initialized()):
        return Place(0, 1)
    return Place(dist.get_rank(), dist.get_world_size())


def wait_for_all() -> None:
    """Wait for all processes."""
    if place().world > 1:
        dist.barrier()


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of several jobs that share the batches of an evaluation; each has a folder of its own.

    Attributes:
        index: number of the job, from 1 to `jobs`.
        jobs: number of jobs.
    """

    index: int
    jobs: int

    def takes(self, number: int) -> bool:
        """Return whether the batch of this number belongs to this job."""
        return number % self.jobs == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.jobs}"


def parse_shard(text: str | None) -> Shard:
    """Parse `"3/16"` as the third of sixteen shards; None means all batches.

    Raises:
        InputError: the text is not two whole numbers, the first from 1 to the second.
    """
    index, _, jobs = "1/1".partition("/") if text is None else str(text).partition("/")
    if not (index.isdecimal() and jobs.isdecimal() and 1 <= int(index) <= int(jobs)):
        raise InputError(f"expected a shard such as 3/16, from 1/16 to 16/16, got {text!r}")
    return Shard(index=int(index), jobs=int(jobs))


class Claims:
    """Distribution of batches among the processes of one run: a free process takes the next by creating a file.

    Args:
        home: the folder of the run.
    """

    def __init__(self, home: Path) -> None:
        self._home = home / "claims"

    def clear(self) -> None:
        """Remove all claims; no other process may be at work."""
        shutil.rmtree(self._home, ignore_errors=True)

    def take(self, number: int) -> bool:
        """Try to take a batch; return whether it now belongs to this process."""
        if place().world == 1:
            return True
        self._home.mkdir(exist_ok=True)
        try:
            os.close(os.open(self._home / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True
