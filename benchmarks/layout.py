"""PGD beside a plain loop of as many passes whose images and weights lie channels-last, as a Markdown table.

    python benchmarks/layout.py [--turns 7] [--networks NAME ...]

Random weights, 10 steps, every step made, one thread, processor time, medians of the turns, both sides in turns.
"""

import argparse
import copy
import time
from collections.abc import Callable
from statistics import median

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from advkit import load_model
from advkit.attacks import PGD

STEPS, EPS, LENGTH = 10, 0.01, 0.001
ROWS = (
    ("vgg16, width 1/4", 32, 1, 16),
    ("resnet18", 64, 3, 1),
    ("resnet18", 64, 3, 16),
    ("resnet50", 64, 3, 8),
    ("convnext_tiny", 64, 3, 4),
    ("swin_t", 64, 3, 4),
)
"""Network, side and channels of the images, batch."""


def network(name: str) -> nn.Module:
    """In eval mode, its parameters frozen."""
    net = load_model("vgg16") if name.startswith("vgg16") else torchvision.models.get_model(name, weights=None)
    return net.eval().requires_grad_(False)


def plain(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """The steps of PGD and a last look."""
    x_adv = x.clone(memory_format=torch.channels_last)
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(x_adv), y, reduction="sum"), x_adv)
        x_adv = (x_adv + LENGTH * gradient.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    with torch.no_grad():
        net(x_adv)


def timed(run: Callable[[], object]) -> float:
    """Processor seconds."""
    start = time.process_time()
    run()
    return time.process_time() - start


def ratios(name: str, side: int, channels: int, batch: int, turns: int) -> list[float]:
    """The time of PGD, without and with a random start and with the clean answer known, as a share of the loop's."""
    net, x = network(name), torch.rand(batch, channels, side, side)
    clean = net(x)
    y, other = clean.argmax(1), copy.deepcopy(net).to(memory_format=torch.channels_last)
    still = PGD(eps=EPS, steps=STEPS, step_size=LENGTH, random_start=False)
    moved = PGD(eps=EPS, steps=STEPS, step_size=LENGTH)
    runs: list[Callable[[], object]] = [
        lambda: plain(other, x, y),
        lambda: still(net, x, y, stop="never"),
        lambda: moved(net, x, y, stop="never"),
        lambda: moved(net, x, y, stop="never", clean=clean),
    ]
    times = [[timed(run) for run in runs] for _ in range(turns)]
    loop, *ours = (median(column) for column in zip(*times, strict=True))
    return [own / loop for own in ours]


def main() -> None:
    """One row a network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--networks", nargs="+", default=[name for name, *_ in ROWS])
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| network | pixels | batch | PGD | PGD, random start | with `clean=` |\n|---|---|---|---|---|---|")
    for name, side, channels, batch in [row for row in ROWS if row[0] in given.networks]:
        shares = " | ".join(f"{share:.2f}" for share in ratios(name, side, channels, batch, given.turns))
        print(f"| {name} | {side} | {batch} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
