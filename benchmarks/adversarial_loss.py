"""Processor time of AdversarialLoss with FGSM against three passes: `python benchmarks/adversarial_loss.py`.

Three passes: one for the example, one for the clean loss, one for the adversarial loss. "full": the first is a whole
forward and backward pass, as in most training loops. "lean": it computes the gradient by the input only. Where a layer
costs 1 forward, 1 backward by its input and 1 by its weights, ours costs 6, full 9 and lean 8, so ratios below .67 and
.75 cannot be had. All ways in turn on one thread; medians of processor times and of ratios; gradients are compared.
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

EPS = 0.25
NETS = {"lenet5": 1.0, "mlp": 1.0, "vgg16": 0.25}  # name -> width

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def mixed(model: nn.Module, x: Tensor, y: Tensor, gradient: Tensor, eps: float) -> Tensor:
    x_adv = (x + eps * gradient.sign()).clamp(0, 1)
    return 0.5 * F.cross_entropy(model(x), y) + 0.5 * F.cross_entropy(model(x_adv), y)


def lean(model: nn.Module, x: Tensor, y: Tensor, eps: float = EPS) -> Tensor:
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(leaf), y), [leaf])
    return mixed(model, x, y, gradient, eps)


def full(model: nn.Module, x: Tensor, y: Tensor, eps: float = EPS) -> Tensor:
    leaf = x.clone().requires_grad_()
    F.cross_entropy(model(leaf), y).backward()
    model.zero_grad()
    assert leaf.grad is not None
    return mixed(model, x, y, leaf.grad, eps)


def timed(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> float:
    model.zero_grad()
    start = time.process_time()
    loss(model, x, y).backward()
    return time.process_time() - start


def gradients(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> list[Tensor]:
    timed(model, loss, x, y)
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def compare(name: str, width: float, batch: int, rounds: int) -> str:
    model = create_model(name, input_shape=(1, 32, 32), width=width, seed=0).eval()
    x, y = load_data("mnist5k", split="train")[:batch]
    ways: list[Loss] = [AdversarialLoss(attack=FGSM(eps=EPS)), full, lean]
    found, expected, _ = (gradients(model, way, x, y) for way in ways)
    apart = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))
    times = [[timed(model, way, x, y) for way in ways] for _ in range(rounds)]
    ours, *others = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    ratios = [statistics.median(row[0] / row[i] for row in times) for i in (1, 2)]
    figures = "".join(f"{ms:10.1f} ms {ratio:5.2f}" for ms, ratio in zip(others, ratios, strict=True))
    return f"{name:8}{width:6g}{ours:10.1f} ms{figures}   {apart:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, batch {given.batch}, {given.rounds} rounds, 1 thread, eval mode")
    print(
        "net      width        ours         full ratio         lean ratio   largest relative difference of a gradient"
    )
    for name, width in NETS.items():
        print(compare(name, width, given.batch, given.rounds), flush=True)


if __name__ == "__main__":
    main()
