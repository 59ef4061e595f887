"""Whether freed memory stays with the process: `python benchmarks/memory.py`, page faults of 40 steps (glibc only)."""

import resource
import sys

import torch

from advkit.core.memory import keep_freed


def faults() -> int:
    """Page faults of 40 steps that each take and free four blocks of 8 MiB."""

    def step() -> list[torch.Tensor]:
        return [torch.ones(2**23, dtype=torch.uint8) for _ in range(4)]

    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--without" not in sys.argv:
        keep_freed()
    print(f"{faults()} page faults (--without: as the system would have it)")
