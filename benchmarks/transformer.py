"""`python benchmarks/transformer.py --output DIR`: does a spatial transformer help a CNN of equal size?

Trains `stn_cnn` by the recipe of its shipped checkpoint, and the same CNN without the transformer, widened until it has
at least as many parameters, on the same distorted digits with the same recipe; then compares them on the test digits,
each distorted once and each distorted ten times. Runs lie in DIR/VARIANT/NET/SEED; the same command goes on with them.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from advkit.core.intervals import mcnemar
from advkit.data import MemoryDataset, load_data
from advkit.training import build, find_recipe, train

COPIES = 10
WIDER = 5 / 16  # of the plain CNN, against 1/4 with a transformer


def recipes(variant, epochs, longer):
    """Name -> recipe of the networks on one variant of the data, the one with the transformer first."""
    stn = find_recipe("stn_cnn-distorted_mnist")
    if variant != "RTS":
        shape = load_data(f"distorted_mnist:{variant}").input_shape
        stn = replace(stn, data=f"distorted_mnist:{variant}", input_shape=shape)
    stn = stn if epochs is None else replace(stn, epochs=epochs)
    cnn = replace(stn, width=WIDER, options={"transform": "none"})
    return {"stn": stn, "cnn": cnn} | ({f"cnn{longer}": replace(cnn, epochs=longer)} if longer else {})


def wrong(recipe, seed, home):
    """Which of the distorted test digits a run gets wrong, (copies, digits) bool; parameters; seconds of training."""
    recipe = replace(recipe, seed=seed)
    data, test = (in_memory(load_data(recipe.data, split=split)) for split in ("train", "test"))
    run = train(build(recipe), data, recipe=recipe, test=test, output=home, device="cpu", resume=True)
    many = load_data(recipe.data, split="test", copies=COPIES)
    with torch.no_grad():
        verdicts = [run.classifier(x).argmax(1) != y for x, y in many.batches(500)]
    seconds = sum(row.seconds for row in run.log)
    return torch.cat(verdicts).view(COPIES, -1), run.card.parameters, seconds


def in_memory(data):
    """The same images, made once and not in every epoch."""
    x, y = data.tensors()
    return MemoryDataset(data.name, data.split, data.classes, x.mul(255).round().byte(), y)


def compare(cnn, stn):
    """A row of the table: errors with one distortion a digit and McNemar's p, with ten and the p over digits.

    The ten distortions of a digit are no ten independent images: there each digit has one vote, for the network that is
    wrong on more of its ten.
    """
    first, second = cnn[0], stn[0]
    only = int((first & ~second).sum()), int((second & ~first).sum())
    votes = int((cnn.sum(0) > stn.sum(0)).sum()), int((cnn.sum(0) < stn.sum(0)).sum())
    return (
        f"{percent(first)} | {percent(second)} | {only[0]} : {only[1]} | {mcnemar(*only):.1e} | "
        f"{percent(cnn)} | {percent(stn)} | {votes[0]} : {votes[1]} | {mcnemar(*votes):.1e}"
    )


def percent(verdicts):
    return f"{100 * verdicts.double().mean().item():.2f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="RTS", help="of distorted_mnist (default RTS)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--longer", type=int, metavar="EPOCHS", help="also a plain CNN that is trained so much longer")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: [] for name in recipes(given.variant, given.epochs, given.longer)}
    for seed in range(given.seeds):
        for net, recipe in recipes(given.variant, given.epochs, given.longer).items():
            verdicts, parameters, seconds = wrong(recipe, seed, given.output / given.variant / net / str(seed))
            found[net].append(verdicts)
            print(f"{net} seed {seed}: {parameters:,} parameters, {seconds:.0f} s", flush=True)
            if net != "stn":
                print(f"| {net} | {seed} | {compare(verdicts, found['stn'][-1])} |", flush=True)
    for net in found:
        print(f"{net}, all seeds and copies: {percent(torch.cat(found[net]))}")


if __name__ == "__main__":
    main()
