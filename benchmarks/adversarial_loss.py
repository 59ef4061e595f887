"""Processor time of AdversarialLoss with FGSM against the plain way of three passes: `python benchmarks/adversarial_loss.py`.

The plain way: one pass for the example (gradient by the input only), one for the clean loss, one for the adversarial
loss. Both ways in turn on one thread, the medians of their processor times and of their ratios; gradients are compared.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.attacks import FGSM
from advkit.data import load_data
from advkit.defenses import AdversarialLoss
from advkit.models import create_model

NETS = {"lenet5": 1.0, "mlp": 1.0, "vgg16": 0.25}  # name -> width


def three_passes(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(leaf), y), [leaf])
    x_adv = (x + eps * gradient.sign()).clamp(0, 1)
    return 0.5 * F.cross_entropy(model(x), y) + 0.5 * F.cross_entropy(model(x_adv), y)


def timed(model: nn.Module, loss: Callable[[], Tensor]) -> float:
    model.zero_grad()
    start = time.process_time()
    loss().backward()
    return time.process_time() - start


def compare(name: str, width: float, batch: int, rounds: int) -> str:
    model = create_model(name, input_shape=(1, 32, 32), width=width, seed=0).eval()
    x, y = load_data("mnist5k", split="train")[:batch]
    ours = AdversarialLoss(attack=FGSM(eps=0.25))
    both = [lambda: ours(model, x, y), lambda: three_passes(model, x, y, 0.25)]
    timed(model, both[0])
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    timed(model, both[1])
    expected = [p.grad for p in model.parameters() if p.grad is not None]
    apart = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))
    times = [[timed(model, loss) for loss in both] for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in times)
    ms = [1000 * statistics.median(column) for column in zip(*times, strict=True)]
    return f"{name:8} {width:5g} {ms[0]:9.1f} {ms[1]:12.1f} {ratio:7.2f}   {apart:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, batch {given.batch}, {given.rounds} rounds, 1 thread, eval mode")
    print("net      width   ours/ms  3 passes/ms   ratio   largest relative difference of a gradient")
    for name, width in NETS.items():
        print(compare(name, width, given.batch, given.rounds), flush=True)


if __name__ == "__main__":
    main()
