"""`python benchmarks/auto_attack.py`: what `autoattack(mode=fast)` leaves standing beside auto-attack, and its time.

It needs auto-attack (https://github.com/fra31/auto-attack) or, in its place, `pip install pyautoattack`. Both sides get
the same test digits of mnist5k in one run, on one thread; processor time. auto-attack takes a second or so a digit.
"""

import argparse
import os
import time

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from victims import load

from advkit.attacks import AutoAttack

try:
    from autoattack import AutoAttack as Standard
except ImportError:
    from pyautoattack import AutoAttack as Standard


def seconds(work):
    begin = time.process_time()
    found = work()
    return found, time.process_time() - begin


def robust(model, x, y):
    with torch.no_grad():
        return model(x).argmax(1) == y


def compare(victim, eps, norm, count, seeds):
    model, x, y = load(victim)
    x, y = x[:count], y[:count]
    name = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    def theirs():
        return Standard(model, norm=name, eps=eps, seed=0, device="cpu").run_standard_evaluation(x, y, batch_size=count)

    left, whole = [], []
    for seed in range(seeds):
        attack = AutoAttack(eps=eps, norm=norm, mode="fast")
        found, spent = seconds(lambda attack=attack, seed=seed: attack(model, x, y, seed=seed))
        left.append(robust(model, found.x_adv, y))
        whole.append(spent)
    answer, spent = seconds(theirs)
    answer = answer[0] if isinstance(answer, tuple) else answer
    standing = robust(model, answer, y)
    ours = ", ".join(str(int(rows.sum())) for rows in left)
    only = [int((standing & ~rows).sum()) for rows in left], [int((rows & ~standing).sum()) for rows in left]
    print(
        f"{victim} {norm} {eps:g} | {count} digits | standing: fast {ours}, standard {int(standing.sum())} | broken by "
        f"fast only {only[0]}, by standard only {only[1]} | {sum(whole) / seeds:.1f} s, {spent:.1f} s | "
        f"ratio {sum(whole) / seeds / spent:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--case", nargs="+", default=["lenet5-robust:linf:0.2", "lenet5-robust:linf:0.3", "lenet5:linf:0.1"]
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    for case in given.case:
        victim, norm, eps = case.split(":")
        compare(victim, float(eps), norm, given.count, given.seeds)
