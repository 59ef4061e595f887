"""`python benchmarks/evaluation.py`: what an evaluation costs beside its attacks, in memory and as a run folder.

The bare time is that of the attack calls alone, batch by batch on the same images. The run folder holds rows, images,
the 8-bit verdict (a forward pass on the fooled images), figures and page; the checks' time is given apart. One thread,
processor time, in turns, medians over the rounds.
"""

import argparse
import os
import statistics
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch

from advkit import evaluate, load_data, load_model
from advkit.attacks import FGSM, PGD
from advkit.evaluation import check_evaluation

ATTACKS = [FGSM(eps=0.1), PGD(eps=0.1), FGSM(eps=1.5, norm="l2"), PGD(eps=1.5, norm="l2")]
BATCH = 250


def seconds(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(name, count, rounds):
    model, data = load_model(name), load_data("mnist5k")
    ids = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:count].sort().values

    def bare():
        for start in range(0, count, BATCH):
            rows = ids[start : start + BATCH]
            x, y = data[rows]
            for attack in ATTACKS:
                attack(model, x, y, sample_ids=rows)

    def memory():
        evaluate(model, data, ATTACKS, count=count, batch_size=BATCH)

    def run():
        with tempfile.TemporaryDirectory() as home:
            evaluate(model, data, ATTACKS, count=count, batch_size=BATCH, output=home, checks=False)

    for work in (bare, memory, run):
        work()
    table = [(seconds(bare), seconds(memory), seconds(run)) for _ in range(rounds)]
    ratios = [statistics.median(row[i] / row[0] for row in table) for i in (1, 2)]
    least = statistics.median(row[0] for row in table)
    checks = seconds(lambda: check_evaluation(model, data))
    print(
        f"{name:>8} {count:5d} images | bare {least:6.2f} s | in memory {ratios[0]:.3f}, as a run {ratios[1]:.3f} "
        f"| checks {checks:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["lenet5", "vgg11"])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, processor time, ratios to the bare attacks, {given.rounds} rounds")
    print(f"attacks: {', '.join(attack.spec for attack in ATTACKS)}")
    for name in given.models:
        compare(name, given.count, given.rounds)
