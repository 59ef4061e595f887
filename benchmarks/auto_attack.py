"""`python benchmarks/auto_attack.py`: what `cascade` leaves standing beside auto-attack, and its time.

It needs auto-attack (https://github.com/fra31/auto-attack) or, in its place, `pip install pyautoattack`. Both sides get
the same images in one run, on one thread; processor time. auto-attack takes a second or so an image that stands.

A case is VICTIM:NORM:EPS. A victim is a network of `benchmarks/victims.py` with test digits of mnist5k, or, with
--module and --images, one of your own. VICTIM+scaled has its logits times 1,000; VICTIM+quantised gets images rounded
to multiples of 1/16, so that its gradients are zero.
"""

import argparse
import os
import time
import warnings

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from _needed import needed
from victims import add_source, load

from advkit.attacks import Cascade
from advkit.testing.nets import Wrapped

try:
    from autoattack import AutoAttack as Standard
except ImportError:
    needed("pyautoattack")
    from pyautoattack import AutoAttack as Standard

MASKS = {
    "scaled": {"after": lambda logits: 1000 * logits},
    "quantised": {"before": lambda x: (16 * x).round() / 16},
}


def victim_of(name, given):
    name, _, mask = name.partition("+")
    model, x, y = load(name, given)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    window = slice(given.first, given.first + given.count)
    return Wrapped(model, **MASKS[mask]).eval() if mask else model, x[window], y[window]


def robust(model, x, y):
    with torch.no_grad():
        return model(x).argmax(1) == y


def standard(model, x, y, norm, eps):
    attack = Standard(model, norm={"linf": "Linf", "l2": "L2", "l1": "L1"}[norm], eps=eps, seed=0, device="cpu")
    answer = attack.run_standard_evaluation(x, y, batch_size=len(x))
    return answer[0] if isinstance(answer, tuple) else answer


def timed(work):
    begin = time.process_time()
    found = work()
    return found, time.process_time() - begin


def rows_of(mask, first):
    """The numbers of the images, "-" for none."""
    return " ".join(str(first + i) for i in mask.nonzero().flatten().tolist()) or "-"


def compare(case, given):
    name, norm, eps = case.split(":")
    model, x, y = victim_of(name, given)
    attack = Cascade(eps=float(eps), norm=norm)
    runs = [timed(lambda seed=seed: attack(model, x, y, seed=seed).x_adv) for seed in range(given.seeds)]
    answer, spent = timed(lambda: standard(model, x, y, norm, float(eps)))
    left, standing = [robust(model, x_adv, y) for x_adv, _ in runs], robust(model, answer, y)
    seconds = sum(s for _, s in runs) / len(runs)
    print(
        f"{case} | {len(x)} images, right {int(robust(model, x, y).sum())} | standing: cascade "
        f"{', '.join(str(int(rows.sum())) for rows in left)}, standard {int(standing.sum())} | broken by cascade only "
        f"{'; '.join(rows_of(standing & ~rows, given.first) for rows in left)} | by standard only "
        f"{'; '.join(rows_of(rows & ~standing, given.first) for rows in left)} | {seconds:.1f} s, {spent:.1f} s | "
        f"ratio {seconds / spent:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="the number of the first image")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    add_source(parser)
    parser.add_argument(
        "--case", nargs="+", default=["lenet5-robust:linf:0.2", "lenet5-robust:linf:0.3", "lenet5:linf:0.1"]
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for case in given.case:
        compare(case, given)
