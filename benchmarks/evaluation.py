"""`python benchmarks/evaluation.py`: what an evaluation costs beside its attacks, in memory and as a run folder.

"beside its own attacks" is exact: of one evaluation the processor time outside its attack calls and its reading of the
data, as a share of these two. "to the bare attacks" sets it beside another pass over the same batches, attack by
attack and without an evaluation, and is as noisy as the machine. The run folder holds rows, images, the 8-bit verdict
(a forward pass on the fooled images), figures and page; the checks' time is given apart. One thread, processor time,
in turns, medians over the rounds.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from unittest import mock

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch

from advkit import evaluate, load_data, load_model
from advkit.attacks import FGSM, PGD, Attack
from advkit.evaluation import check_evaluation

ATTACKS = [FGSM(eps=0.1), PGD(eps=0.1), FGSM(eps=1.5, norm="l2"), PGD(eps=1.5, norm="l2")]
BATCH = 250


def seconds(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


@contextlib.contextmanager
def timed(spent, *calls):
    """Inside the block the time within these methods (class, name) is added to the list `spent`."""
    with contextlib.ExitStack() as stack:
        for owner, name in calls:
            stack.enter_context(mock.patch.object(owner, name, _timed(getattr(owner, name), spent)))
        yield


def _timed(method, spent):
    def call(*args, **options):
        begin = time.process_time()
        try:
            return method(*args, **options)
        finally:
            spent.append(time.process_time() - begin)

    return call


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

    def beside(work):
        """The time of the work, and all of it in units of its attacks and its reading."""
        spent = []
        with timed(spent, (Attack, "__call__"), (type(data), "__getitem__")):
            whole = seconds(work)
        return whole, whole / sum(spent)

    for work in (bare, memory, run):
        work()
    table = [(seconds(bare), *beside(memory), *beside(run)) for _ in range(rounds)]
    middle = [statistics.median(column) for column in zip(*table, strict=True)]
    to_bare = [statistics.median(row[i] / row[0] for row in table) for i in (1, 3)]
    checks = seconds(lambda: check_evaluation(model, data))
    print(
        f"{name:>8} {count:5d} images | bare {middle[0]:6.2f} s | in memory {middle[2]:.3f} ({to_bare[0]:.3f} to bare)"
        f" | as a run {middle[4]:.3f} ({to_bare[1]:.3f} to bare) | checks {checks:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["lenet5", "vgg11"])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, one thread, processor time, ratios beside its own attacks, {given.rounds} rounds"
    )
    print(f"attacks: {', '.join(attack.spec for attack in ATTACKS)}")
    for name in given.models:
        compare(name, given.count, given.rounds)
