"""Exact certificates on a network trained by PGD: `python benchmarks/exact_robust.py --data ROOT --output DIR`.

Trains two strided convolutions and two linear layers by PGD on MNIST and asks `exact` about the first --count test
digits at eps .2, --limit seconds of processor time each. ROOT is a data root that holds MNIST. The run in DIR is used
again if it is there. `--selection` holds out the last 1,000 training digits and judges on them: so the radius of the
training was chosen, by the share of 100 digits that CROWN certifies.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

import advkit.certification.exact as search
from advkit.attacks import create_attack
from advkit.certification import certify
from advkit.data import MemoryDataset, load_data
from advkit.defenses import create_defense
from advkit.models import Classifier
from advkit.training import Recipe, train

EPS = 0.2
NODES = 10**9  # the time is the only limit
LOSS = "pgd(eps=0.3, steps=7, step_size=0.08, alpha=0)"
RECIPE = Recipe(
    model="small", data="mnist", input_shape=(1, 28, 28), epochs=8, batch_size=100, optimizer="adamw", lr=2e-3,
    weight_decay=0.01, clip=1.0, ramp=0.4, defense=LOSS,
)  # fmt: skip


class ProcessorTime:
    """In the place of the module `time`, so that other work on the machine does not count."""

    perf_counter = staticmethod(time.process_time)


def network() -> nn.Sequential:
    """The form of Wong and Kolter 2018, 166,406 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def main() -> None:
    """Train, certify, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data root with MNIST")
    parser.add_argument("--output", type=Path, default=Path("runs/exact"), help="folder of the training run")
    parser.add_argument("--loss", default=LOSS, help="spec of the training loss")
    parser.add_argument("--selection", action="store_true", help="judge on training digits that are held out")
    parser.add_argument("--first", type=int, default=0, help="number of the first digit")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--limit", type=float, default=30.0, help="processor seconds for each digit")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, test = (load_data("mnist", split=split, root=given.data, pad=0) for split in ("train", "test"))
    if given.selection:
        x, y = data[:]
        parts = (x[:-1000], y[:-1000]), (x[-1000:], y[-1000:])
        data, test = (MemoryDataset("mnist", "train", data.classes, *part) for part in parts)
    run = train(
        Classifier(network()), data, recipe=replace(RECIPE, defense=given.loss), loss=create_defense(given.loss),
        test=test, output=given.output, device="cpu", resume=True,
    )  # fmt: skip
    model = run.classifier.eval()
    x, y = test[:1000]
    fooled = create_attack(f"pgd(eps={EPS}, steps=40)")(model, x, y).success
    by_crown = certify(model, x[:100], y[:100], eps=EPS, method="crown").certified
    print(f"clean error {run.card.clean_error:.2%}; PGD-40 fools {int(fooled.sum())} of 1,000; ", end="")
    print(f"CROWN certifies {int(by_crown.sum())} of 100")
    setattr(search, "time", ProcessorTime)  # noqa: B010
    attack = create_attack(f"pgd(eps={EPS}, steps=40, restarts=2)")
    part, begun = slice(given.first, given.first + given.count), time.process_time()
    found = certify(
        model, x[part], y[part], eps=EPS, method="exact", time_limit=given.limit, nodes=NODES,
        attack=lambda net, images, labels: attack(net, images, labels).x_adv,
    )  # fmt: skip
    spent = time.process_time() - begun
    assert found.broken is not None
    undecided = [given.first + i for i in found.undecided.nonzero().squeeze(1).tolist()]
    print(
        f"exact: {int(found.certified.sum())} certified, {int(found.broken.sum())} broken, undecided {undecided}; ",
        end="",
    )
    print(f"{spent:.0f} s of processor time")


if __name__ == "__main__":
    main()
