"""How far the nearest adversarial digit is, and whom else it fools: tables 1 and 2 of the first paper.

Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow, Fergus 2013: Intriguing properties of neural networks
(arXiv 1312.6199).
"""

import math
from functools import partial

import torch
from torch import Tensor

from advkit.attacks import LBFGS
from advkit.core.draws import Draws
from advkit.core.guard import Model, device_of
from advkit.reproduction.looking_at import digits_of, error
from advkit.reproduction.study import (
    STUDIES,
    Budget,
    Cell,
    Claim,
    Measured,
    Measurement,
    Networks,
    Study,
    Table,
    Training,
)
from advkit.training import Recipe

WEAK, MIDDLE, STRONG = "FC10(1e-4)", "FC10(1e-2)", "FC10(1)"
DEEP, WIDE = "FC100-100-10", "FC200-200-10"
NETWORKS = {
    WEAK: ((), 2e-5),
    MIDDLE: ((), 2e-3),
    STRONG: ((), 0.2),
    DEEP: ((100, 100), 2e-7),
    WIDE: ((200, 200), 1e-7),
}
"""Name -> hidden layers and `l2` of the recipe: the paper's lambda is on sum w^2 / k, k units, ours on sum w^2 / 2."""

NOISES = {"noise, sd 0.1": 0.1, "noise, sd 0.3": 0.3}
RETOLD = "as retold in public notes on the paper; not checked in the paper itself."
TEST, DISTORTION = "test error", "distortion"

DISTORTIONS = Table(
    title="Average smallest distortion",
    where="table 1",
    checked=RETOLD,
    columns={TEST: "percent", DISTORTION: "number"},
    printed={
        WEAK: {TEST: 0.074, DISTORTION: 0.062},
        MIDDLE: {TEST: 0.094, DISTORTION: 0.1},
        STRONG: {TEST: 0.20, DISTORTION: 0.14},
        DEEP: {TEST: 0.0164, DISTORTION: 0.058},
        WIDE: {TEST: 0.0154, DISTORTION: 0.065},
    },
)
CROSSED = Table(
    title="Error of each network (columns) on the examples made for another (rows)",
    where="table 2",
    checked=RETOLD,
    columns=dict.fromkeys(NETWORKS, "percent"),
    printed={
        WEAK: {WEAK: 1.0, DEEP: 0.02},
        MIDDLE: {WEAK: 0.871, DEEP: 0.359},
        STRONG: {WEAK: 0.719, DEEP: 0.481},
        DEEP: {WEAK: 0.289, DEEP: 1.0},
        WIDE: {WEAK: 0.382, DEEP: 0.203},
        "noise, sd 0.1": {WEAK: 0.05, DEEP: 0.0},
        "noise, sd 0.3": {WEAK: 0.156, DEEP: 0.05},
    },
)


def distortion(x_adv: Tensor, x: Tensor) -> Tensor:
    """(N,): the paper's `sqrt(mean (x' - x)^2)` over the pixels.

    Args:
        x_adv: adversarial images (N, C, H, W).
        x: clean images.
    """
    return (x_adv - x).double().square().flatten(1).mean(1).sqrt()


def nearest(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Measured]:
    """The nearest adversarial images that L-BFGS finds, and their distortion; an image that is wrong already is left.

    Args:
        model: the network.
        x: images (N, C, H, W).
        y: classes (N,).
    """
    device = device_of(model)
    result = LBFGS(target="all", searches=12, leaps=0)(model, x.to(device), y.to(device))
    x_adv, distance = result.x_adv.cpu(), result.distance.cpu()
    moved = (distance > 0) & distance.isfinite()
    return x_adv, Measured.of(torch.where(moved, distortion(x_adv, x), math.nan))


def noisy(x: Tensor, sd: float, seed: int) -> Tensor:
    """Gaussian noise on every pixel, within the range; drawn by the seed and the image's number."""
    draws = Draws(seed, torch.arange(len(x)))
    return (x + sd * draws.normal(0, tuple(x.shape[1:]))).clamp(0, 1).to(x.dtype)


def _measure(networks: Networks, seed: int, *, data: str, count: int) -> dict[Cell, Measured]:
    x, y = digits_of(data)
    few, labels = x[:count], y[:count]
    cells, made = {}, {name: noisy(few, sd, seed) for name, sd in NOISES.items()}
    for name, network in networks.items():
        made[name], cells[DISTORTIONS.cell(name, DISTORTION)] = nearest(network, few, labels)
        cells[DISTORTIONS.cell(name, TEST)] = error(network, x, y)
    for source, x_adv in made.items():
        for name, network in networks.items():
            cells[CROSSED.cell(source, name)] = error(network, x_adv, labels)
    return cells


def _training(budget: Budget, hidden: tuple[int, ...], l2: float) -> Training:
    options = {"hidden": hidden, "activation": "sigmoid", "dropout": 0.0, "mean": 0.0, "std": 1.0}
    recipe = Recipe(
        model="mlp", data=budget.digits(), input_shape=(1, 28, 28), options=options, l2=l2, optimizer="adamw",
        epochs=budget.pick(tiny=2, small=60, paper=60), batch_size=100, lr=3e-3, weight_decay=0.0,
    )  # fmt: skip
    return Training(recipe=recipe)


def _claims() -> tuple[Claim, ...]:
    far, crossed = DISTORTIONS.cell, CROSSED.cell
    sentences = {
        f"{STRONG} needs a larger distortion than {WEAK}.": (far(WEAK, DISTORTION), far(STRONG, DISTORTION), 1),
        f"{MIDDLE} needs a larger distortion than {WEAK}.": (far(WEAK, DISTORTION), far(MIDDLE, DISTORTION), 1),
        f"The examples of {DEEP} fool {WEAK} more often than noise of standard deviation 0.1.": (
            crossed("noise, sd 0.1", WEAK), crossed(DEEP, WEAK), 2,
        ),
        f"The examples of {MIDDLE} fool {DEEP} more often than noise of standard deviation 0.1.": (
            crossed("noise, sd 0.1", DEEP), crossed(MIDDLE, DEEP), 2,
        ),
        f"The examples of {STRONG} fool {DEEP} more often than those of {WEAK}.": (
            crossed(WEAK, DEEP), crossed(STRONG, DEEP), 2,
        ),
    }  # fmt: skip
    return tuple(
        Claim(sentence=sentence, where=f"table {table}", smaller=smaller, larger=larger, over="images")
        for sentence, (smaller, larger, table) in sentences.items()
    )


@STUDIES.register("szegedy_distortion")
def szegedy_distortion(*, budget: Budget) -> Study:
    """The settings, figures and claims of tables 1 and 2."""
    data, count = budget.digits(), budget.pick(tiny=4, small=50, paper=1000)
    measure = partial(_measure, data=data, count=count)
    return Study(
        title="The nearest adversarial digits, and whom else they fool",
        paper="Szegedy et al.: Intriguing properties of neural networks, 2013, arXiv 1312.6199",
        trainings={name: _training(budget, hidden, l2) for name, (hidden, l2) in NETWORKS.items()},
        measurements={"distortions": Measurement(networks=tuple(NETWORKS), measure=measure)},
        tables=(DISTORTIONS, CROSSED),
        claims=_claims(),
        differences=(
            f"Digits: {data}, examples for the first {count} test digits; the paper takes MNIST.",
            "The distance is the smallest over all nine other classes; the paper does not say which class it aims at.",
            "An image that is wrong already has no distortion; in table 2 it counts: all images are the denominator.",
            f"{WIDE} has one weight decay for all layers; the paper's last layer has twice as much. AdamW trains all.",
            "The autoencoder network AE400-10 is left out.",
            "Noise is cut to the range of the pixels.",
        ),
    )
