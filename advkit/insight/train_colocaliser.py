"""`python -m advkit.insight.train_colocaliser --output DIR`: train the co-localiser on cluttered digits.

It sees three cluttered copies of each of the 4,000 training digits, and which of them show the same digit. It sees no
box.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from advkit.core.errors import InputError
from advkit.data import MemoryDataset, load_data
from advkit.data.distorted_mnist import DistortedMNIST
from advkit.insight.colocalise import CANVAS, Colocaliser, TripletLoss, overlap
from advkit.models import Card, Classifier, load_model, parameters
from advkit.training import Recipe, Run, train

DATA = "distorted_mnist:cluttered"
RECIPE = Recipe(
    model="colocaliser",
    data=DATA,
    input_shape=(1, CANVAS, CANVAS),
    epochs=40,
    batch_size=128,
    optimizer="adamw",
    lr=2e-3,
    weight_decay=1e-2,
    clip=1.0,
    expected="99.9, 100.0 and 100.0 % (seeds 0 to 2) of 1,000 test digits at half overlap; 199 s",
)


def untrained(*, zoom: float = 1.25, seed: int = 0) -> Classifier:
    """Return a co-localiser that crops the middle, with the LeNet-5 that ships with advkit."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return of_side(CANVAS, zoom=zoom)


def of_side(side: int, *, zoom: float = 1.25) -> Classifier:
    """Return a co-localiser as `untrained` does, for images of another side; torch's global state draws its weights.

    Args:
        side: side of the images in pixels.
        zoom: largest factor on the crops' side.
    """
    net = Colocaliser(zoom=zoom, side=side)
    net.eye.load_state_dict(load_model("lenet5", device="cpu").state_dict())
    card = Card(name="colocaliser", input_shape=(1, side, side), num_classes=10, parameters=parameters(net))
    return Classifier(net, card=card)


def cluttered(split: str, copies: int) -> tuple[MemoryDataset, DistortedMNIST]:
    """Return the images in memory, and the data set that knows their boxes."""
    data = load_data(DATA, split=split, copies=copies)
    assert isinstance(data, DistortedMNIST)
    x, y = data.tensors()
    return MemoryDataset(data.name, split, data.classes, (x * 255).round().byte(), y), data


def fit(recipe: Recipe = RECIPE, *, zoom: float = 1.25, output: Path | None = None) -> Run:
    """Train on the training digits; the clean error in the log is that of LeNet-5 on the crops."""
    data, _ = cluttered("train", 3)
    test, _ = cluttered("test", 1)
    return train(
        untrained(zoom=zoom, seed=recipe.seed), data, recipe=recipe, loss=TripletLoss(), test=test, output=output
    )


def found_boxes(net: Colocaliser, *, seed: int = 0) -> tuple[DistortedMNIST, torch.Tensor]:
    """Return the 1,000 cluttered test digits of a seed, and the boxes that the network finds in them (1000, 4)."""
    name = DATA if seed == 0 else f"distorted_mnist(variant=cluttered, seed={seed})"
    data = load_data(name, split="test")
    assert isinstance(data, DistortedMNIST)
    return data, torch.cat([net.boxes(x) for x, _ in data.batches(250)])


def overlaps(net: Colocaliser, *, seed: int = 0) -> torch.Tensor:
    """Return the overlap of the found box with the true one for each of the 1,000 cluttered test digits (1000,)."""
    data, found = found_boxes(net, seed=seed)
    return overlap(found, data.boxes())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m advkit.insight.train_colocaliser", description="Train the co-localiser on cluttered digits."
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--zoom", type=float, default=1.25, help="factor of the crops' side; 1 fixes it (default 1.25)")
    given = parser.parse_args(arguments)
    start = time.process_time()
    try:
        run = fit(replace(RECIPE, seed=given.seed, epochs=given.epochs), zoom=given.zoom, output=given.output)
    except InputError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    net = run.classifier.net
    assert isinstance(net, Colocaliser)
    found = overlaps(net)
    share, mean = (found >= 0.5).double().mean(), found.mean()
    wrong = run.card.clean_error or 0
    sys.stdout.write(
        f"seed {given.seed}: {100 * share:.1f} % of 1,000 test digits at an overlap of half, mean overlap {mean:.3f}, "
        f"LeNet-5 wrong on {100 * wrong:.1f} % of the crops; "
        f"{time.process_time() - start:.0f} s of processor time\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
