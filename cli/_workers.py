"""Processes that torchrun started: one process group, one device each, one voice."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

PATIENCE = datetime.timedelta(days=30)
"""How long one process waits for the others: batches may take long."""


def world() -> int:
    """How many processes torchrun started; 1 without it."""
    size = os.environ.get("WORLD_SIZE", "1")
    return int(size) if size.isdecimal() and "RANK" in os.environ else 1


@contextmanager
def together() -> Iterator[bool]:
    """Inside the block the processes are a group; whether this one is to speak."""
    if world() == 1 or dist.is_initialized():
        yield not dist.is_initialized() or dist.get_rank() == 0
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def own_device(device: str) -> str:
    """ "auto" with several processes and GPUs: the GPU of this one."""
    if device == "auto" and world() > 1 and torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return device


def cores() -> int:
    """CPU cores that this process may use: the threads of a run, alike with and without torchrun, which says 1."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
