"""The gradient to the images through a first convolution: torch's, and that in blocks of pixels, as a Markdown table.

    python benchmarks/first_convolution.py [--turns 15]

Random weights and images, in both layouts. One thread, processor time, medians of the turns, both sides in turns.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from advkit.core.loans import lent
from advkit.core.stems import stems

ROWS = (  # images, channels, maps, kernel, stride, padding, side
    ("LeNet-5", 250, 1, 6, 5, 1, 0, 32),
    ("a strided network, MNIST", 250, 1, 16, 4, 2, 1, 28),
    ("the same, CIFAR-10", 250, 3, 16, 4, 2, 1, 32),
    ("ResNet-20", 64, 3, 16, 3, 1, 1, 32),
    ("VGG-16", 4, 3, 64, 3, 1, 1, 224),
    ("ResNet-50", 4, 3, 64, 7, 2, 3, 224),
    ("AlexNet", 4, 3, 64, 11, 4, 2, 224),
    ("ConvNeXt", 4, 3, 96, 4, 4, 0, 224),
    ("a vision transformer", 4, 3, 128, 16, 16, 0, 224),
    ("MobileNet", 4, 3, 32, 3, 2, 1, 224),
)


def timed(run: Callable[[], object]) -> float:
    """Processor seconds."""
    start = time.process_time()
    run()
    return time.process_time() - start


def gradient(answer: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    """To the images; the graph stays for the next turn."""
    return torch.autograd.grad(answer, x, weights, retain_graph=True)[0]


def ratio(module: nn.Conv2d, x: Tensor, turns: int) -> tuple[float, float]:
    """Milliseconds of torch's backward pass, and those in blocks as a share of them."""
    x = x.requires_grad_()
    own = module(x)
    with lent(stems([module])):
        other = module(x)
    weights = torch.randn_like(own)
    torch.testing.assert_close(gradient(own, x, weights), gradient(other, x, weights), rtol=1e-3, atol=1e-3)
    pairs = [[timed(lambda a=a: gradient(a, x, weights)) for a in (own, other)] for _ in range(turns)]
    mine, blocks = (median(column) for column in zip(*pairs, strict=True))
    return 1e3 * mine, blocks / mine


def main() -> None:
    """One row a convolution."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| first convolution of | images | torch | in blocks | torch, channels-last | in blocks |")
    print("|---|---|---|---|---|---|")
    for name, count, channels, maps, kernel, stride, padding, side in ROWS:
        cells = []
        for layout in (torch.contiguous_format, torch.channels_last):
            module = nn.Conv2d(channels, maps, kernel, stride, padding).requires_grad_(False).to(memory_format=layout)
            x = torch.rand(count, channels, side, side).contiguous(memory_format=layout)
            milliseconds, share = ratio(module, x, turns)
            cells += [f"{milliseconds:.1f} ms", f"{share:.2f}"]
        print(f"| {name} | {count} of {channels}x{side}x{side} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
