"""`python benchmarks/budget.py`: robust accuracy and time of the budget attacks beside their peers, in one run.

It needs foolbox, torchattacks, adv-lib and auto-attack's APGD and Square (`pip install pyautoattack`); a peer that is
not installed is left out. The first test digits of mnist5k, the same number and length of steps on both sides; ours
with every step made (stop=never), and once more with fooled digits leaving. The time of a peer includes one forward
pass, the verdict, which ours has in it. One thread, processor time, sides in turns.

A row: robust accuracy, mean over the seeds, ours and that of the peer that leaves least; the digits that only one of
the two broke, mean over the seeds, and McNemar's p, median over the seeds; time as a share of the fastest peer's,
median, with every step made and with fooled digits leaving. "Bare passes": as many passes on the bare network, over the
time of the fastest peer: no attack that makes every step can take less. "Images": how many images passed the network in
the fastest peer's attack, as a share of ours; a peer whose fooled or wrong images leave has fewer.
"""

import argparse
import os
import statistics
import time
import warnings

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from _budget_peers import PEERS
from victims import add_source, bare_passes, load

from advkit.attacks import create_attack
from advkit.core.intervals import mcnemar

RADII = {  # at which APGD breaks about half of the digits
    "lenet5": {"linf": 0.08, "l2": 1.0, "l1": 4.5},
    "lenet5-robust": {"linf": 0.25, "l2": 1.5, "l1": 6.0},
    "vgg16": {"linf": 0.13, "l2": 1.3, "l1": 6.0},
}
OURS = {  # {}: the radius
    "fgsm": "fgsm",
    "fgsm-l2": "fgsm(norm=l2)",
    "bim": "bim(steps=10)",  # of eps / 8
    "mifgsm": "mifgsm(steps=10)",  # of eps / 8
    "pgd": "pgd(steps=40)",  # of eps / 16
    "pgd-l2": "pgd(norm=l2, steps=40)",
    "pgd-l1": "pgd(norm=l1, steps=40)",
    "apgd": "apgd(steps=100)",
    "apgd-dlr": "apgd(steps=100, loss=dlr)",
    "apgd-l2": "apgd(norm=l2, steps=100)",
    "apgd-l1": "apgd(norm=l1, steps=100)",
    "apgd-targeted": "apgd_targeted(steps=100)",
    "square": "square(queries=1000)",
    "square-l2": "square(norm=l2, queries=1000)",
}
ONCE = ("fgsm", "fgsm-l2", "bim", "mifgsm")  # nothing random in them
STOPS = ("never", "fooled")


def measured(work, model, y):
    """Who still stands (N,) bool, the processor time of `work` and of a forward pass on what it returns, its images."""
    passed = []
    hook = model.register_forward_pre_hook(lambda _, given: passed.append(len(given[0])))
    begin = time.process_time()
    x_adv = work()
    between = time.process_time()
    hook.remove()
    with torch.no_grad():
        standing = model(x_adv).argmax(1) == y
    return standing, between - begin, time.process_time() - between, sum(passed)


def rounds(case, victim, given):
    """{side: [(standing, seconds) for each seed]}."""
    model, x, y = load(victim, given)
    if given.right:
        with torch.no_grad():
            right = model(x[: 4 * given.count]).argmax(1) == y[: 4 * given.count]
        x, y = x[: len(right)][right], y[: len(right)][right]
    x, y = x[: given.count], y[: given.count]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    attack = create_attack(OURS[case])
    eps = given.eps[attack.norm] if attack.norm in given.eps else RADII[victim][attack.norm]
    result = attack(model, x, y, eps=eps, stop="never")  # first: it sets the allocator, which then serves both sides
    for run in PEERS[case].values():
        run(model, x[:2], y[:2], eps, 0)
    found, images = {}, {}
    for seed in range(1 if case in ONCE else given.seeds):
        torch.manual_seed(seed)
        for name, run in PEERS[case].items():
            work = lambda run=run, seed=seed: run(model, x, y, eps, seed)  # noqa: E731
            standing, spent, verdict, images[name] = measured(work, model, y)
            found.setdefault(name, []).append((standing, spent + verdict))
        for stop in STOPS:
            work = lambda stop=stop, seed=seed: attack(model, x, y, eps=eps, seed=seed, stop=stop).x_adv  # noqa: E731
            standing, spent, _, images[stop] = measured(work, model, y)
            found.setdefault(stop, []).append((standing, spent))
    floor = bare_passes(model, x, y, *(float(n.float().mean()) for n in (result.queries, result.gradients)))
    return eps, found, floor, images


def line(case, victim, eps, found, floor, images):
    """One row of the table."""
    accuracy = {side: statistics.mean(float(s.float().mean()) for s, _ in pairs) for side, pairs in found.items()}
    peers = [side for side in found if side not in STOPS]
    cells = [f"`{OURS[case]}`", f"{victim}, {eps:g}", f"{accuracy['never']:.4f}"]
    if not peers:
        return [*cells, "-", "-", "-", "-", "-", "-", "-"]
    best = min(peers, key=accuracy.__getitem__)
    fastest = min(peers, key=lambda side: statistics.median(t for _, t in found[side]))
    pairs = [(a, b) for (a, _), (b, _) in zip(found["never"], found[best], strict=True)]
    only_ours = [int((b & ~a).sum()) for a, b in pairs]
    only_theirs = [int((a & ~b).sum()) for a, b in pairs]
    p = statistics.median(mcnemar(u, v) for u, v in zip(only_ours, only_theirs, strict=True))
    ratios = [
        statistics.median(a / b for (_, a), (_, b) in zip(found[stop], found[fastest], strict=True)) for stop in STOPS
    ]
    return [
        *cells,
        f"{accuracy[best]:.4f} {best}",
        f"{statistics.mean(only_ours):g} / {statistics.mean(only_theirs):g}",
        f"{p:.2g}",
        f"{ratios[0]:.2f}",
        f"{ratios[1]:.2f}",
        f"{floor / statistics.median(t for _, t in found[fastest]):.2f}",
        f"{images[fastest] / images['never']:.2f}",
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--victims", nargs="+", default=list(RADII))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--eps", nargs="+", default=[], metavar="NORM=EPS", help="radii in place of the table's")
    parser.add_argument("--right", action="store_true", help="only images that the network gets right")
    add_source(parser)
    given = parser.parse_args()
    given.eps = {norm: float(eps) for norm, eps in (pair.split("=") for pair in given.eps)}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(
        "| attack | network, eps | ours | best peer | only ours / only theirs | p | time | with leaving "
        "| bare passes | images |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for victim in given.victims:
        for case in given.cases:
            print("| " + " | ".join(line(case, victim, *rounds(case, victim, given))) + " |", flush=True)
