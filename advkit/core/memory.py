"""How a CPU's memory is used again from step to step."""

import functools

import torch

LARGEST = 2**25 - 2**16
"""Bytes: just under the 32 MiB up to which glibc raises its thresholds."""


@functools.cache
def keep_freed() -> None:
    """Once a process: what a step frees stays with the process, up to 64 MiB, and serves the next step.

    glibc takes blocks larger than a threshold from the system and gives them back, and trims its heap at twice the
    threshold; that is the largest block freed so far, at most 32 MiB. One such block, freed untouched, sets it at its
    highest. Before, a step's tensors come page by page from the system and go back to it. With another allocator it
    does nothing.
    """
    torch.empty(LARGEST, dtype=torch.uint8)  # freed at once
