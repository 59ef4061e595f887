"""`python benchmarks/drop_mnist.py --data ROOT --output FILE`: no drop, dropout and DropConnect on all of MNIST.

Wan et al. 2013, table 2, with rectifiers: 784-800-800-10 by SGD with momentum. ROOT is a data root of advkit that holds
MNIST. Each line of FILE is one network. Networks that stand there are not trained again, and several processes may
write to one file, each with seeds or ways of its own. `--selection` trains on the first 50,000 digits and judges on the
rest of the training split, to choose settings by. Two tests of each pair are printed: Student's over the seeds, and
the sign test over the digits, each with the share of its networks that are wrong.
"""

import argparse
import json
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from advkit.core.classify import classify
from advkit.data import MemoryDataset, load_data
from advkit.reproduction.significance import paired_t, signs
from advkit.training import Recipe, build, train

BASE = Recipe(
    model="mlp", data="mnist(pad=0)", input_shape=(1, 28, 28), optimizer="sgd", lr=0.05, momentum=0.9, clip=1.0,
    batch_size=100,
)  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "no drop": {"options": {"dropout": 0.0}},
    "dropout": {"options": {"dropout": 0.5}},
    "DropConnect": {"model": "mlp_dropconnect", "options": {"dropconnect": 0.5, "masks": "batch", "samples": 100}},
}


def digits(root: Path, selection: bool) -> tuple[MemoryDataset, MemoryDataset]:
    """The digits to train on and those to judge by."""
    x, y = load_data("mnist", split="train", root=root, pad=0)[:]
    if selection:
        parts = (x[:50_000], y[:50_000]), (x[50_000:], y[50_000:])
    else:
        parts = (x, y), load_data("mnist", split="test", root=root, pad=0)[:]
    classes = [str(i) for i in range(10)]
    learnt, judged = (MemoryDataset(BASE.data, "train", classes, *part) for part in parts)
    return learnt, judged


def wrong(way: str, seed: int, epochs: int, data: MemoryDataset, test: MemoryDataset) -> list[int]:
    """The numbers of the digits that one network gets wrong after its training."""
    recipe = Recipe(**{**vars(BASE), **WAYS[way], "epochs": epochs, "seed": seed})
    few = MemoryDataset(test.name, "test", test.classes, *test[:10])  # an error by epoch is not wanted here
    model = train(build(recipe), data, recipe=recipe, test=few, device="cpu").classifier.eval()
    x, y = test[:]
    return (classify(model, x).argmax(1) != y).nonzero().flatten().tolist()


def made(path: Path) -> list[dict[str, Any]]:
    """The lines of the file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(lines: list[dict[str, Any]]) -> None:
    """Print the errors of each way, and the tests of each pair over the seeds that both have."""
    by: dict[str, dict[int, list[int]]] = defaultdict(dict)
    for line in lines:
        by[line["way"]][line["seed"]] = line["wrong"]
    count = max(line["of"] for line in lines)
    for way, missed in by.items():
        errors = [100 * len(missed[seed]) / count for seed in sorted(missed)]
        print(f"{way:>11}: {sum(errors) / len(errors):.2f} % ({', '.join(f'{error:.2f}' for error in errors)})")
    for pair in combinations(by, 2):
        seeds = sorted(set(by[pair[0]]) & set(by[pair[1]]))
        over_seeds = paired_t(*([len(by[way][seed]) for seed in seeds] for way in pair))
        shares = [torch.zeros(count) for _ in pair]
        for way, share in zip(pair, shares, strict=True):
            for seed in seeds:
                share[by[way][seed]] += 1
        over_digits = signs(*(share.tolist() for share in shares))
        word = {1: "more errors than", 0: "as many errors as", -1: "fewer errors than"}[over_seeds.sign]
        p = f"p {over_seeds.p:.2g} over {len(seeds)} seeds, {over_digits.p:.2g} over digits"
        print(f"{pair[0]}: {word} {pair[1]}, {p}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="data root that holds MNIST")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="lines of JSON, one a network")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--selection", action="store_true", help="judge on training digits that are held out")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    train_set, test_set = digits(given.data, given.selection)
    for seed in given.seeds:
        for way in given.ways:
            if any((line["way"], line["seed"]) == (way, seed) for line in made(given.output)):
                continue
            begun = time.process_time()
            errors = wrong(way, seed, given.epochs, train_set, test_set)
            line = {"way": way, "seed": seed, "epochs": given.epochs, "seconds": round(time.process_time() - begun)}
            with given.output.open("a") as file:
                file.write(json.dumps(line | {"wrong": errors, "of": len(test_set)}) + "\n")
            print(line | {"errors": len(errors)}, flush=True)
    table(made(given.output))
