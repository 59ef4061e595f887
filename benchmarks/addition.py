"""`python benchmarks/addition.py --output DIR`: two digits in two channels, read by two transformers or by none.

MNIST addition, Jaderberg et al. 2015, appendix A.1. The two transformers start as copies of the one that ships with
`stn_fcn` for single distorted digits, each on its own channel, and stay as they are; the FCN behind them learns the
sums. Beside it the FCN alone, of about as many parameters, on the whole canvas. Both are trained alike, and compared on
1,000 test pairs. Runs lie in DIR/NET/SEED; the same command goes on with them.
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
from advkit.models import load_model
from advkit.training import Recipe, build, train

TWO = Recipe(
    model="stn_fcn",
    data="mnist_addition",
    input_shape=(2, 42, 42),
    num_classes=19,
    options={"transformers": 2, "crop": 28, "mean": 0.1307, "std": 0.3081},
    epochs=10,
    batch_size=50,
    optimizer="adamw",
    lr=2e-3,
    weight_decay=1e-2,
    clip=1.0,
    freeze="transformer",
)
NONE = replace(TWO, options={**TWO.options, "transform": "none"}, freeze="")


def start(net):
    """Give transformer c the shipped transformer's weights, on channel c alone."""
    single = load_model("stn_fcn", data="distorted_mnist", device="cpu").net.transformer.state_dict()
    first = "localisation.1.weight"  # (units, pixels of all channels)
    for channel, branch in enumerate(net.net.transformer.branches):
        own = branch.state_dict()
        wide = torch.zeros_like(own[first])
        wide.unflatten(1, (2, -1))[:, channel] = single[first]
        branch.load_state_dict({**single, first: wide})
    return net


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
    parser.add_argument("--epochs", type=int, default=TWO.epochs)
    parser.add_argument("--copies", type=int, default=5, help="training pairs for each of the 4,000 digits (default 5)")
    parser.add_argument("--output", type=Path, default=Path("runs/addition"), help="folder of the runs")
    parser.add_argument("--picture", type=Path, help="draw what the transformers look at, and train nothing")
    given = parser.parse_args()
    if given.picture:
        draw(start(build(TWO)).eval(), given.picture)
        return
    torch.set_num_threads(1)
    data = in_memory(load_data("mnist_addition", split="train", copies=given.copies))
    test = in_memory(load_data("mnist_addition"))
    x, y = test.tensors()
    for seed in range(given.seeds):
        wrong = {}
        for name, recipe in (("two", TWO), ("none", NONE)):
            recipe = replace(recipe, seed=seed, epochs=given.epochs)
            net, begun = build(recipe), time.process_time()
            net = start(net) if name == "two" else net
            home = given.output / name / str(seed)
            net = train(net, data, recipe=recipe, test=test, output=home, device="cpu", resume=True).classifier.eval()
            with torch.no_grad():
                wrong[name] = net(x).argmax(1) != y
            spent = time.process_time() - begun
            print(f"{name} seed {seed}: {net.card.parameters:,} parameters, {percent(wrong[name])}, {spent:.0f} s")
            for branch in net.net.transformer.branches if name == "two" else ():
                with torch.no_grad():
                    print(f"  moves with the channels: {tracking(branch.points(net.normalize(x)), x).tolist()}")
        only = int((wrong["none"] & ~wrong["two"]).sum()), int((wrong["two"] & ~wrong["none"]).sum())
        print(f"only none : only two wrong {only[0]} : {only[1]}, p {mcnemar(*only):.1e}", flush=True)


if __name__ == "__main__":
    main()
