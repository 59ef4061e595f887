"""`python benchmarks/fgsm.py`: what FGSM costs beside its floor, one forward-and-backward to the input and one forward.

The floor is the bare passes on the same images, parameters frozen: gradient of the summed cross-entropy at x, then a
forward pass on the adversarial images. One thread, processor time, in turns, medians over the rounds.
"""

import argparse
import os
import statistics
import time

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
import torch.nn.functional as F
from victims import load

from advkit.attacks import FGSM


def seconds(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(victim, count, rounds):
    model, x, y = load(victim)
    x, y = x[:count], y[:count]
    attack = FGSM(eps=0.1)
    x_adv = attack(model, x, y).x_adv
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    def floor():
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model(leaf), y, reduction="sum"), leaf)
        with torch.no_grad():
            model(x_adv)

    def ours():
        attack(model, x, y)

    for work in (floor, ours) * 3:
        work()
    pairs = [(seconds(floor), seconds(ours)) for _ in range(rounds)]
    ratio = statistics.median(b / a for a, b in pairs)
    least, most = statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
    print(
        f"{victim:>13} {count:5d} images | floor {1e3 * least:8.1f} ms, FGSM {1e3 * most:8.1f} ms | ratio {ratio:.3f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=["lenet5", "vgg16", "stn_cnn", "mlp"])
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, processor time, medians of {given.rounds}")
    for victim in given.victims:
        compare(victim, given.count, given.rounds)
