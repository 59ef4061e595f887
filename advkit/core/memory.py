"""A setting of the memory allocator that keeps memory between the steps of an attack."""

import functools

import torch

LARGEST = 2**25 - 2**16
"""Bytes: just under the 32 MiB up to which glibc raises its thresholds."""


@functools.cache
def keep_freed() -> None:
    """Let the process keep memory that a step frees, up to 64 MiB, for the next step; once a process.

    glibc takes blocks above a threshold from the system and returns them, and trims its heap at twice the threshold.
    The threshold is the largest block freed so far, at most 32 MiB. Allocating and freeing one such block raises it to
    the maximum. Otherwise a step's tensors would come from the system page by page and return to it. With another
    allocator this has no effect.
    """
    torch.empty(LARGEST, dtype=torch.uint8, device="cpu")  # freed at once
