"""`python benchmarks/nearest.py`: the nearest adversarial points in each norm, at about 1,000 passes a sample.

Every attack of a library that looks for the nearest point in a norm makes about 500 steps of one forward and one
backward pass, its defaults otherwise. A cell gives the least of the medians that a library's attacks come to, and which
attack that is. A median is over the same images, which the network gets right; an image that is not fooled counts as
infinitely far. The passes are counted at the network: forward plus backward, the mean a sample. The last columns say
how far our best is from the best peer, and in how many images ours is nearer and farther, with p of the sign test.

Foolbox's Brendel-Bethge needs numba; it is left out where that is not installed.
"""

import argparse
import os
import statistics
import warnings
from importlib.util import find_spec

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import torch
from _needed import needed
from minimal import ORDER, adv_lib, foolbox
from torch import nn
from victims import add_source, load

from advkit.attacks import create_attack
from advkit.core.norms import get_norm
from advkit.models import list_models
from advkit.reproduction.significance import signs

OURS = {
    "l0": ["sigma_zero(steps=499)", "pdpgd(norm=l0, steps=499)", "fmn(norm=l0, steps=499)",
           "brendel_bethge(norm=l0, steps=150, restarts=3)"],
    "l1": ["alma(norm=l1, steps=499)", "pdpgd(norm=l1, steps=499)", "fmn(norm=l1, steps=499)",
           "brendel_bethge(norm=l1, steps=150, restarts=3)"],
    "l2": ["alma(steps=499)", "alma(steps=249, targets=2)", "ddn(steps=499)", "pdpgd(norm=l2, steps=499)",
           "fmn(norm=l2, steps=499)", "brendel_bethge(norm=l2, steps=480)"],
    "linf": ["fmn(norm=linf, steps=499, gain=0)", "pdpgd(norm=linf, steps=499)",
             "brendel_bethge(norm=linf, steps=480)"],
}  # fmt: skip
BETHGE = {"l0": "L0", "l1": "L1", "l2": "L2", "linf": "Linfinity"}
STEPS = 500
BETHGE_STEPS = 125
"""Foolbox spends about 750 queries on its start."""


def peers(norm):
    """{library: {attack: run}}."""
    fmn = {"fmn": adv_lib("fmn", norm=ORDER[norm], steps=STEPS)}
    pdpgd = {"pdpgd": adv_lib("pdpgd", norm=ORDER[norm], num_steps=STEPS)}
    other = {
        "l0": lambda: {"sigma_zero": adv_lib("sigma_zero", num_steps=STEPS)},
        "l1": lambda: {"alma": adv_lib("alma", num_steps=STEPS, distance="l1")},
        "l2": lambda: {
            "alma": adv_lib("alma", num_steps=STEPS, distance="l2"),
            "ddn": adv_lib("ddn", steps=STEPS, levels=None),
        },
        "linf": dict,
    }[norm]()
    found = {"adv-lib": fmn | pdpgd | other, "foolbox": {}}
    if norm == "l2":
        found["foolbox"]["DDN"] = foolbox("DDNAttack", steps=STEPS)
    if norm == "l1":
        found["foolbox"]["EAD"] = foolbox("EADAttack", binary_search_steps=5, steps=STEPS // 5, decision_rule="L1")
    if find_spec("numba"):
        found["foolbox"]["Brendel-Bethge"] = foolbox(f"{BETHGE[norm]}BrendelBethgeAttack", steps=BETHGE_STEPS)
    return found


class Counted(nn.Module):
    """A network that counts the images that it sees, and those through which a gradient comes back."""

    def __init__(self, net):
        super().__init__()
        self.net, self.passes = net, 0

    def forward(self, x):
        self.passes += len(x)
        if x.requires_grad:
            x = x.view_as(x)
            x.register_hook(self._back)
        return self.net(x)

    def _back(self, gradient):
        self.passes += len(gradient)


def measured(run, net, x, y, norm):
    """(distances (N,), passes a sample): the verdict is ours. Every attack draws from the same seed."""
    counted = Counted(net).eval()
    torch.manual_seed(0)
    answer = run(counted, x, y)
    points, passes = getattr(answer, "x_adv", answer).detach(), counted.passes / len(x)
    with torch.no_grad():
        fooled = net(points).argmax(1) != y
    return torch.where(fooled, get_norm(norm).size(points.double() - x.double()), torch.inf), passes


def images(victim, given):
    source = None if victim in list_models() else given
    net, x, y = load(victim, source)
    net.requires_grad_(False)
    with torch.no_grad():
        right = (net(x[:2000]).argmax(1) == y[:2000]).nonzero().squeeze(1)
    right = right[right >= given.first][: given.count]
    return net, x[right], y[right]


def short(spec):
    """The attack and what it is given beside the norm and its steps."""
    name, _, options = spec.partition("(")
    kept = [
        option for option in options.rstrip(")").split(", ") if option and not option.startswith(("norm=", "steps="))
    ]
    return f"{name}({', '.join(kept)})" if kept else name


def line(victim, norm, given):
    net, x, y = images(victim, given)
    sides = {"advkit": {spec: create_attack(spec) for spec in OURS[norm]}, **peers(norm)}
    cells, best = [victim, norm], {}
    for library, attacks in sides.items():
        found = {name: measured(run, net, x, y, norm) for name, run in attacks.items()}
        if not found:
            cells.append("-")
            continue
        middle = {name: statistics.median(distances.tolist()) for name, (distances, _) in found.items()}
        name = min(middle, key=middle.get)
        best[library] = middle[name], found[name][0]
        cells.append(f"{middle[name]:.4g}, `{short(name)}`, {found[name][1]:.0f}")
        if given.all:
            print("  " + ", ".join(f"{library}'s {n} {middle[n]:.4g} ({p:.0f})" for n, (_, p) in found.items()))
    (least, mine), others = best.pop("advkit"), best
    rival, theirs = min(others.values(), key=lambda pair: pair[0])
    nearer, farther = (int((a < b * (1 - 1e-4)).sum()) for a, b in ((mine, theirs), (theirs, mine)))
    ratio = "1.00" if least == rival else f"{least / rival:.2f}"
    return [*cells, ratio, f"{nearer} : {farther}, {signs(mine.tolist(), theirs.tolist()).p:.2g}"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=["lenet5"])
    parser.add_argument("--norms", nargs="+", default=list(ORDER), choices=list(ORDER))
    parser.add_argument("--first", type=int, default=0, help="the number of the first image")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--all", action="store_true", help="every attack's median and passes, not the best only")
    add_source(parser)
    given = parser.parse_args()
    needed("adv_lib", "foolbox")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| network | norm | advkit: median, attack, passes | adv-lib | Foolbox | ratio | nearer : farther, p |")
    print("|---|---|---|---|---|---|---|")
    for victim in given.victims:
        for norm in given.norms:
            print("| " + " | ".join(line(victim, norm, given)) + " |", flush=True)
