"""Attacks on one image at a time beside a plain loop of as many passes, as a Markdown table.

    python benchmarks/one_image.py [--rounds 15]

The loop takes the gradient of cross-entropy and a signed step, clamped into ball and range, once for each query of the
attack. Digits that the network gets right, every step made, one thread, processor time, medians over the digits.
"""

import argparse
import os
import statistics
import time

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
import torch.nn.functional as F
from victims import load

from advkit.attacks import create_attack

ATTACKS = ["pgd(steps=40)", "apgd(steps=40)", "lbfgs"]
EPS, LENGTH = 0.1, 0.01


def plain(model, x, y, passes):
    x_adv = x
    for _ in range(passes):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), x_adv)
        x_adv = (x_adv + LENGTH * gradient.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)


def seconds(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(model, images, spec):
    attack = create_attack(spec)
    given = {"eps": EPS, "stop": "never"} if attack.kind == "budget" else {}
    attack(model, *images[0], **given)
    pairs, queries = [], []
    for x, y in images:
        queries.append(int(attack(model, x, y, **given).queries))
        pairs.append(
            (
                seconds(lambda x=x, y=y: plain(model, x, y, queries[-1])),
                seconds(lambda x=x, y=y: attack(model, x, y, **given)),
            )
        )
    ratio = statistics.median(ours / loop for loop, ours in pairs)
    print(f"| `{spec}` | {statistics.median(queries):.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victim", default="lenet5")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--attacks", nargs="+", default=ATTACKS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, x, y = load(given.victim)
    model.requires_grad_(False)
    right = (model(x).argmax(1) == y).nonzero().squeeze(1)[: given.rounds]
    print("| attack | queries | time, ratio |\n|---|---|---|")
    for spec in given.attacks:
        compare(model, [(x[i : i + 1], y[i : i + 1]) for i in right], spec)
