"""CROWN and alpha-CROWN beside auto_LiRPA: `python benchmarks/certificate_peers.py --data ROOT --eps 0.006`.

Interleaved on one thread, in processor time. ROOT is a data root of advkit that holds MNIST; auto_LiRPA has to be
importable (github.com/Verified-Intelligence/auto_LiRPA). `--network deep` has two convolutions and ten linear layers
with random weights, and its own answers are the labels. `--network small` is that of benchmarks/exact_robust.py, with
the weights of a file.
"""

import argparse
import itertools
import time
from pathlib import Path

import torch
from _needed import needed
from exact_robust import network
from torch import Tensor, nn

from advkit.certification import certify
from advkit.data import load_data

THEIRS = {"crown": "CROWN", "alpha_crown": "CROWN-Optimized"}


def deep() -> nn.Sequential:
    """Twelve layers; the linear ones have 64 units."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 4, 2, 1), nn.ReLU(), nn.Flatten()]
    for n, m in itertools.pairwise((784, *[64] * 9, 10)):
        layers += [nn.Linear(n, m), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(*layers[:-1])


def theirs(net: nn.Module, x: Tensor, y: Tensor, eps: float, method: str) -> Tensor:
    """What auto_LiRPA certifies, the range of the pixels included."""
    from auto_LiRPA import BoundedModule, BoundedTensor
    from auto_LiRPA.perturbations import PerturbationLpNorm

    eye = torch.eye(10)
    C = (eye[y][:, None] - eye)[torch.arange(10) != y[:, None]].view(len(x), 9, 10)
    ball = PerturbationLpNorm(norm=float("inf"), x_L=(x - eps).clamp(0, 1), x_U=(x + eps).clamp(0, 1))
    bounded = BoundedModule(net, x, device="cpu", bound_opts={"optimize_bound_args": {"iteration": 20}})
    with torch.set_grad_enabled(method == "alpha_crown"):
        low, _ = bounded.compute_bounds(x=(BoundedTensor(x, ball),), C=C, method=THEIRS[method], bound_upper=False)
    return (low > 0).all(1).detach()


def main() -> None:
    """Certify by both in turns, print both counts and times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data root with MNIST")
    parser.add_argument("--network", choices=("deep", "small"), default="deep")
    parser.add_argument("--weights", type=Path, help="state dict of the small network")
    parser.add_argument("--eps", type=float, default=0.006)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--method", choices=tuple(THEIRS), default="crown")
    parser.add_argument("--batch", type=int, default=10)
    given = parser.parse_args()
    needed("auto_LiRPA")
    torch.set_num_threads(1)
    net = deep() if given.network == "deep" else network()
    if given.network == "small":
        net.load_state_dict(torch.load(given.weights, weights_only=True))
    net.eval()
    x, y = load_data("mnist", split="test", root=given.data, pad=0)[: given.count]
    y = net(x).argmax(1) if given.network == "deep" else y
    ask = {
        "ours": lambda *a: certify(net, *a, eps=given.eps, method=given.method).certified,
        "theirs": lambda *a: theirs(net, *a, given.eps, given.method),
    }
    for certified in ask.values():  # imports and first calls do not count
        certified(x[:1], y[:1])
    found: dict[str, list[Tensor]] = {who: [] for who in ask}
    spent = dict.fromkeys(ask, 0.0)
    for turn, rows in enumerate(torch.split(torch.arange(given.count), given.batch)):
        for who in sorted(ask, reverse=bool(turn % 2)):
            begun = time.process_time()
            found[who].append(ask[who](x[rows], y[rows]))
            spent[who] += time.process_time() - begun
    ours, others = (torch.cat(found[who]) for who in ask)
    print(f"certified of {given.count}: {int(ours.sum())}, auto_LiRPA {int(others.sum())}", end="; ")
    print(f"by auto_LiRPA alone {int((others & ~ours).sum())}", end="; ")
    print(f"{spent['ours']:.1f} s, auto_LiRPA {spent['theirs']:.1f} s: {spent['ours'] / spent['theirs']:.2f}")


if __name__ == "__main__":
    main()
