"""Processor time of every augmentation on one thread: `python benchmarks/augment.py`.

Milliseconds for 128 images of 3x32x32 and for 16 of 3x256x256, medians of the rounds, all in turn.
"""

import argparse
import statistics
import time

import torch

from advkit.core.draws import Draws
from advkit.training.augment import create_augmentation, list_augmentations

SIZES = {32: 128, 256: 16}  # side -> images
SPECS = {"patch": "patch(size={cut})", "scale_jitter": "scale_jitter(low={side}, high={double}, size={cut})"}


def milliseconds(name: str, side: int, step: int) -> float:
    spec = SPECS.get(name, name).format(side=side, double=2 * side, cut=side * 7 // 8)
    augment, draws = create_augmentation(spec), Draws(0, torch.arange(SIZES[side]))
    x = torch.rand(SIZES[side], 3, side, side, generator=torch.Generator().manual_seed(0))
    start = time.process_time()
    augment(x, draws, step=step)
    return 1000 * (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cases = [(name, side) for name in list_augmentations() for side in SIZES]
    times = [[milliseconds(*case, step) for case in cases] for step in range(rounds + 1)][1:]  # the first warms up
    found = dict(zip(cases, map(statistics.median, zip(*times, strict=True)), strict=True))
    for name in list_augmentations():
        print(f"| `{name}` | {' | '.join(f'{found[name, side]:.1f}' for side in SIZES)} |")


if __name__ == "__main__":
    main()
