"""`python benchmarks/passes.py`: what every attack costs beside the passes that it makes.

The floor is what the same number of passes takes on the bare network, parameters frozen: `queries` forward passes and
`gradients` backward passes to the input, at the price of the whole batch, images as they lie. One thread, processor
time, in turns, medians over the rounds.
"""

import argparse
import os
import statistics
import time
import warnings

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from budget import RADII
from victims import bare_passes, load

from advkit.attacks import create_attack

ATTACKS = [
    "fgsm",
    "bim(steps=20)",
    "pgd(steps=20)",
    "pgd(norm=l2, steps=20)",
    "pgd(norm=l1, steps=20)",
    "mifgsm(steps=20)",
    "apgd(steps=20)",
    "apgd(norm=l2, steps=20)",
    "apgd(norm=l1, steps=20)",
    "apgd_targeted(steps=10, classes=3)",
    "square(queries=50)",
    "square(norm=l2, queries=50)",
    "deepfool",
    "deepfool(norm=linf)",
    "superdeepfool(steps=20)",
    "cw(searches=3, steps=30)",
    "cw(norm=linf, searches=3, steps=30)",
    "ddn(steps=30)",
    "alma(steps=30)",
    "fmn(steps=30)",
    "fmn(norm=linf, steps=30)",
    "fmn(norm=l1, steps=30)",
    "fmn(norm=l0, steps=30)",
    "fab(steps=10)",
    "fab(norm=l2, steps=10)",
    "ead(searches=3, steps=30)",
    "lbfgs(searches=3, leaps=1)",
]


def seconds(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(victim, count, rounds, attacks):
    model, x, y = load(victim)
    x, y = x[:count], y[:count]
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    for spec in attacks:
        attack = create_attack(spec)
        given = {"eps": RADII[victim][attack.norm], "stop": "never"} if attack.kind == "budget" else {}
        found = attack(model, x, y, **given)
        queries, gradients = float(found.queries.sum()) / count, float(found.gradients.sum()) / count
        ratios = []
        for _ in range(rounds):
            floor = bare_passes(model, x, y, queries, gradients)
            spent = seconds(lambda attack=attack, given=given: attack(model, x, y, **given))
            ratios.append(spent / floor)
        print(
            f"| `{spec}` | {victim} | {queries:.1f} | {gradients:.1f} | {statistics.median(ratios):.2f} |", flush=True
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=["lenet5", "vgg16"])
    parser.add_argument("--attacks", nargs="+", default=ATTACKS)
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| attack | network | queries | gradients | time, ratio |\n|---|---|---|---|---|")
    for victim in given.victims:
        compare(victim, given.count, given.rounds, given.attacks)
