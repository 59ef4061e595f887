"""Several processes on one evaluation: who this one is, and where all wait for each other (torch.distributed)."""

from typing import NamedTuple

import torch.distributed as dist


class Place(NamedTuple):
    """This process among those that share the work."""

    rank: int
    world: int

    @property
    def first(self) -> bool:
        """Whether this is the process that writes what belongs to all."""
        return self.rank == 0

    def takes(self, number: int) -> bool:
        """Whether the batch of this number is this process's."""
        return number % self.world == self.rank


def place() -> Place:
    """Where `torchrun` or the caller has made a process group, this process's rank in it; otherwise 0 of 1."""
    if not (dist.is_available() and dist.is_initialized()):
        return Place(0, 1)
    return Place(dist.get_rank(), dist.get_world_size())


def wait_for_all() -> None:
    """Go on when every process is here."""
    if place().world > 1:
        dist.barrier()
