"""`python benchmarks/transfer.py`: examples that transfer, ours against torchattacks' or torchattack's same method.

Every network is attacked, and the images are shown to all others; those of a single network to itself, for the times.
Both sides make as many steps of the same length and as many gradients, in turns; one thread, processor time. Each seed
takes other digits, of those that all networks get right. A row gives the mean success over the pairs of different
networks, for each seed and over all; the paired t test over the digits (the share of pairs in which a digit was fooled,
ours minus theirs), with Student's 95 % interval of the mean difference; our time over theirs. torchattacks' TI takes
three channels and includes DI, so that row runs with DI on images whose grey is repeated. It has no Admix: there the
peer is torchattack's.

Names of the module's networks take 28x28 digits (`--module nets.py --images mnist.npz`); shipped ones get two pixels of
padding on each side.
"""

import argparse
import importlib
import os
import statistics
import time
import warnings

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import torch
import torch.nn.functional as F
from _needed import needed
from defense_table import paired_p
from torch import nn
from victims import add_source, load

from advkit.attacks import create_attack
from advkit.models import list_models, load_model
from advkit.reproduction.significance import mean_interval

METHODS = {  # ours; the peer's class and its options; channels
    "mifgsm": ("", "MIFGSM", {"decay": 1.0}, 1),
    "di": ("di=0.5", "DIFGSM", {"decay": 1.0, "diversity_prob": 0.5, "resize_rate": 0.9}, 1),
    "di ti": ("di=0.5, ti=15", "TIFGSM", {"decay": 1.0, "diversity_prob": 0.5, "resize_rate": 0.9}, 3),
    "ni": ("ni=1.0", "NIFGSM", {"decay": 1.0}, 1),
    "si ni": ("si=5, ni=1.0", "SINIFGSM", {"decay": 1.0, "m": 5}, 1),
    "vmi": ("vmi=5", "VMIFGSM", {"decay": 1.0, "N": 5, "beta": 1.5}, 1),
    "vmi ni": ("vmi=5, ni=1.0", "VNIFGSM", {"decay": 1.0, "N": 5, "beta": 1.5}, 1),
    "admix": ("admix=0.2", "Admix", {"decay": 1.0, "portion": 0.2, "size": 3, "num_classes": 10}, 1),
}


class Fitted(nn.Module):
    """A network that takes the digits as they are here: `pad` pixels are added, channels are averaged to one."""

    def __init__(self, net, pad):
        super().__init__()
        self.net, self.pad = net, pad

    def forward(self, x):
        return self.net(F.pad(x.mean(1, keepdim=True), [self.pad] * 4))


def networks(names, given):
    """{name: network} and the digits that all of them get right."""
    shipped, found, data = list_models(), {}, None
    for name in names:
        if name in shipped:
            found[name] = Fitted(load_model(name, device="cpu"), 2).eval()
        else:
            net, *data = load(name, given)
            found[name] = Fitted(net, 0).eval()
    x, y = data
    for net in found.values():
        net.requires_grad_(False)
        with torch.no_grad():
            right = net(x).argmax(1) == y
        x, y = x[right], y[right]
    return found, x, y


def peer(kind, options, model, x, y, eps, steps):
    attack = getattr(importlib.import_module("torchattack" if kind == "Admix" else "torchattacks"), kind)
    return attack(model, eps=eps, alpha=eps / steps, steps=steps, **options)(x, y)


def measured(make, nets, x, y):
    """Who of the digits is fooled in each pair (pairs, N), and the processor seconds."""
    fooled, seconds = [], 0.0
    for name, net in nets.items():
        begin = time.process_time()
        x_adv = make(net).detach()
        seconds += time.process_time() - begin
        with torch.no_grad():
            others = [other for shown, other in nets.items() if shown != name] or [net]
            fooled += [other(x_adv).argmax(1) != y for other in others]
    return torch.stack(fooled).double(), seconds


def compare(method, nets, x, y, given):
    options, kind, theirs, channels = METHODS[method]
    length = given.eps / given.steps
    spec = f"mifgsm(steps={given.steps}, step_size={length:.6g}{', ' * bool(options)}{options})"
    attack, rows = create_attack(spec, eps=given.eps), {"ours": [], "theirs": []}
    for seed in range(given.seeds):
        part = slice(seed * given.count, (seed + 1) * given.count)
        images, labels = x[part].expand(-1, channels, -1, -1).contiguous(), y[part]
        torch.manual_seed(seed)
        call = {"seed": seed, "stop": "never"}
        rows["ours"].append(
            measured(lambda net: attack(net, images, labels, **call).x_adv, nets, images, labels)  # noqa: B023
        )
        rows["theirs"].append(
            measured(
                lambda net: peer(kind, theirs, net, images, labels, given.eps, given.steps),  # noqa: B023
                nets,
                images,
                labels,
            )
        )
    ours = [float(fooled.mean()) for fooled, _ in rows["ours"]]
    cells = [f"`{spec}`", " ".join(f"{rate:.3f}" for rate in ours), f"{statistics.mean(ours):.3f}"]
    peers = [float(fooled.mean()) for fooled, _ in rows["theirs"]]
    gains = torch.cat([a.mean(0) - b.mean(0) for (a, _), (b, _) in zip(rows["ours"], rows["theirs"], strict=True)])
    ratio = statistics.median(a / b for (_, a), (_, b) in zip(rows["ours"], rows["theirs"], strict=True))
    shown = [kind, " ".join(f"{rate:.3f}" for rate in peers), f"{statistics.mean(peers):.3f}"]
    found = mean_interval(gains.tolist())  # None of a single digit
    interval = "-" if found is None else f"{found[0]:+.3f} to {found[1]:+.3f}"
    return [*cells, *shown, interval, f"{paired_p(gains.tolist()):.2g}", f"{ratio:.2f}"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=["lenet5", "vgg11", "nin"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--eps", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--count", type=int, default=40, help="digits a seed")
    parser.add_argument("--seeds", type=int, default=3)
    add_source(parser)
    given = parser.parse_args()
    needed("torchattacks", *["torchattack"] * ("admix" in given.methods))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    nets, x, y = networks(given.victims, given)
    print(f"{len(nets)} networks, {given.count} digits a seed, eps {given.eps:g}, torch {torch.__version__}")
    print("| ours | by seed | mean | peer | by seed | mean | difference | p | time |")
    print("|---" * 9 + "|")
    for method in given.methods:
        print("| " + " | ".join(compare(method, nets, x, y, given)) + " |", flush=True)
