"""Time of a training step by loss, as a multiple of plain training: `python benchmarks/defense_epochs.py`.

A ResNet-18 for images of 32 pixels on random tensors of CIFAR's size; TRADES' own formula, as its authors' script
writes it, stands beside ours. All ways in turn, medians of ratios. On a GPU clocks are read after synchronising, on a
CPU processor time is taken.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from advkit.defenses import create_defense

EPS = 8 / 255
SPECS = {
    "PGD-7": f"pgd(eps={EPS}, steps=7, step_size={2 / 255}, alpha=0)",
    "TRADES-10": f"trades(eps={EPS}, steps=10, step_size={2 / 255}, beta=6)",
    "fast": f"fast(eps={EPS})",
    "free, a replay": f"free(eps={EPS})",
    "N-FGSM": f"nfgsm(eps={EPS})",
    "FGSM (alpha .5)": f"fgsm(eps={EPS}, alpha=0.5)",
}


def network() -> nn.Module:
    net = resnet18(num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return net


def plain(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


def pgd_loop(model: nn.Module, x: Tensor, y: Tensor, steps: int = 7, step: float = 2 / 255) -> Tensor:
    model.eval()
    x_adv = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), [x_adv])
        x_adv = torch.min(torch.max(x_adv.detach() + step * g.sign(), x - EPS), x + EPS).clamp(0, 1)
    model.train()
    return F.cross_entropy(model(x_adv), y)


def trades_loop(model: nn.Module, x: Tensor, y: Tensor, steps: int = 10, step: float = 2 / 255) -> Tensor:
    """Two forward passes a step and two in the end, as in the published script."""
    model.eval()
    x_adv = x + 0.001 * torch.randn_like(x)
    for _ in range(steps):
        x_adv.requires_grad_()
        kl = F.kl_div(F.log_softmax(model(x_adv), 1), F.softmax(model(x), 1), reduction="sum")
        (g,) = torch.autograd.grad(kl, [x_adv])
        x_adv = torch.min(torch.max(x_adv.detach() + step * g.sign(), x - EPS), x + EPS).clamp(0, 1)
    model.train()
    logits = model(x)
    kl = F.kl_div(F.log_softmax(model(x_adv), 1), F.softmax(logits, 1), reduction="batchmean")
    return F.cross_entropy(logits, y) + 6 * kl


def timed(model: nn.Module, loss: Callable[..., Tensor], x: Tensor, y: Tensor, steps: int) -> float:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    cuda = x.device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize()
    begun = clock()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss(model, x, y).backward()
        optimizer.step()
    if cuda:
        torch.cuda.synchronize()
    return (clock() - begun) / steps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output")
    given = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(given.device)
    model = network().to(device)
    x, y = torch.rand(given.batch, 3, 32, 32, device=device), torch.randint(10, (given.batch,), device=device)
    ways: dict[str, Callable[..., Tensor]] = {"plain": plain, "PGD-7, plain loop": pgd_loop}
    ways["TRADES-10, its own script"] = trades_loop
    ways |= {name: create_defense(spec) for name, spec in SPECS.items()}
    for loss in ways.values():
        timed(model, loss, x, y, 1)
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    seconds = []
    for _ in range(given.rounds):
        times = {name: timed(model, loss, x, y, given.steps) for name, loss in ways.items()}
        seconds.append(times["plain"])
        for name, value in times.items():
            ratios[name].append(value / times["plain"])
    found = {name: round(statistics.median(values), 2) for name, values in ratios.items()}
    found["plain, ms a step"] = round(1000 * statistics.median(seconds), 2)
    print(json.dumps(found, indent=2))
    if given.output:
        with open(given.output, "w") as file:
            json.dump({"device": given.device, "batch": given.batch, **found}, file, indent=2)


if __name__ == "__main__":
    main()
