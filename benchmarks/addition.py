"""`python benchmarks/addition.py --output DIR`: two digits in two channels, read by two transformers or by none.

MNIST addition, Jaderberg et al. 2015, appendix A.1: the sums are the only labels. Both networks learn by stages: first
upright digits in the middle of the canvas, then pairs whose distortions grow to the paper's. Each stage starts from the
weights of the one before. The FCN alone, of about as many parameters, sees the whole canvas. Both are trained alike,
and compared on 1,000 test pairs. Runs lie in DIR/NET/SEED/STAGE; the same command goes on with them.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from transformer import in_memory, percent

from advkit.core.intervals import mcnemar
from advkit.data import load_data
from advkit.figures import transformations
from advkit.insight import tracking
from advkit.training import Recipe, build, train

TWO = Recipe(
    model="stn_fcn",
    data="mnist_addition",
    input_shape=(2, 42, 42),
    num_classes=19,
    options={"transformers": 2, "crop": 28, "mean": 0.1307, "std": 0.3081},
    batch_size=100,
    optimizer="adamw",
    lr=2e-3,
    weight_decay=1e-2,
    clip=1.0,
    layer_decay=0.05,
)
NONE = replace(TWO, options={**TWO.options, "transform": "none"}, layer_decay=1.0)

STAGES = (
    *((0, 3, 10), (0.1, 2, 10), (0.2, 2, 10), (0.3, 3, 10), (0.4, 3, 10), (0.5, 4, 10), (0.65, 4, 10), (0.8, 4, 10)),
    (1, 5, 40),
)
"""Strength of the distortions, epochs, and distortions of each of the 4,000 digits."""


def learn(recipe, home, test):
    """Train through the stages; the transformers rest in the first one, where there is nothing to find."""
    weights = None
    for number, (strength, epochs, copies) in enumerate(STAGES):
        data = in_memory(load_data("mnist_addition", split="train", strength=strength, copies=copies))
        still = "transformer" if strength == 0 and recipe.layer_decay < 1 else ""
        stage = replace(recipe, data=data.name, epochs=epochs, weights=weights, freeze=still)
        folder = home / str(number)
        result = train(build(stage), data, recipe=stage, test=test, output=folder, device="cpu", resume=True)
        weights = str(folder)
    return result.classifier.eval()


def draw(net, path):
    """What each transformer looks at in six test pairs."""
    x, y = load_data("mnist_addition")[:6]
    with torch.no_grad():
        inside = net.normalize(x)
        points = torch.stack([branch.points(inside) for branch in net.net.transformer.branches])
        output = torch.stack([branch(inside) for branch in net.net.transformer.branches])
    output = output * net.normalize.std + net.normalize.mean
    labels = tuple(f"sum {label}" for label in y.tolist())
    title = "Two transformers on MNIST addition"
    transformations(x, points, output, labels=labels, title=title, data="mnist_addition test, images 0 to 5", path=path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/addition"), help="folder of the runs")
    parser.add_argument("--picture", type=Path, help="draw what the transformers of seed 0 look at")
    given = parser.parse_args()
    torch.set_num_threads(1)
    test = in_memory(load_data("mnist_addition"))
    x, y = test.tensors()
    for seed in range(given.seeds):
        wrong = {}
        for name, recipe in (("two", TWO), ("none", NONE)):
            begun = time.process_time()
            net = learn(replace(recipe, seed=seed), given.output / name / str(seed), test)
            with torch.no_grad():
                wrong[name] = net(x).argmax(1) != y
            spent = time.process_time() - begun
            print(f"{name} seed {seed}: {net.card.parameters:,} parameters, {percent(wrong[name])}, {spent:.0f} s")
            for branch in net.net.transformer.branches if name == "two" else ():
                with torch.no_grad():
                    print(f"  moves with the channels: {tracking(branch.points(net.normalize(x)), x).tolist()}")
            if name == "two" and seed == 0 and given.picture:
                draw(net, given.picture)
        only = int((wrong["none"] & ~wrong["two"]).sum()), int((wrong["two"] & ~wrong["none"]).sum())
        print(f"only none : only two wrong {only[0]} : {only[1]}, p {mcnemar(*only):.1e}", flush=True)


if __name__ == "__main__":
    main()
