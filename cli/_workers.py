"""The processes of torchrun: one process group, one device each, and one process that prints."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

PATIENCE = datetime.timedelta(days=30)
"""How long one process waits for the others: batches may take long."""


def world() -> int:
    """Return the number of torchrun's processes; 1 without it."""
    size = os.environ.get("WORLD_SIZE", "1")
    return int(size) if size.isdecimal() and "RANK" in os.environ else 1


@contextmanager
def together() -> Iterator[bool]:
    """Context manager: the processes form a group inside; yields whether this one prints."""
    if world() == 1 or dist.is_initialized():
        yield not dist.is_initialized() or dist.get_rank() == 0
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def own_device(device: str) -> str:
    """Return the GPU of this process for "auto" with several processes and GPUs."""
    if device == "auto" and world() > 1 and torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return device


def cores() -> int:
    """Return the number of CPU cores for this process."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def threads() -> int:
    """Return the number of CPU threads of a run: $OMP_NUM_THREADS, or all cores, also where torchrun sets that to 1."""
    said = world() == 1 and "OMP_NUM_THREADS" in os.environ
    return torch.get_num_threads() if said else cores()
