"""Rectifiers learn faster than tanh; normalised responses and overlapping pooling err less.

Krizhevsky, Sutskever, Hinton 2012: ImageNet classification with deep convolutional neural networks, sections 3.1, 3.3
and 3.4.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from advkit.data import load_data
from advkit.reproduction.looking_at import digits_of, error, errors
from advkit.reproduction.papers.krizhevsky_network import SIDE, four_layers
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
from advkit.training import Recipe, build, train
from advkit.training.augment import Compose, CropAverage, Mirror, RandomPatch

FOUR = f"{four_layers.__module__}:{four_layers.__name__}"
PIXELS: dict[str, Any] = {"mean": 0.47, "std": 0.25}
"""The mean and the standard deviation of CIFAR-10's pixels."""

RATES = (0.01, 0.03, 0.1)
FASTEST = "epochs to the training error, best rate"
RELU, TANH = "rectifiers", "tanh"
ACTIVATIONS = {RELU: "relu", TANH: "tanh"}

SPEED = Table(
    title="How long a small convolutional network takes to a given training error",
    where="figure 1",
    checked="it draws curves and says 'six times faster', in a public copy of its text.",
    columns={FASTEST: "number", **{f"epochs, rate {rate}": "number" for rate in RATES}},
    printed={RELU: {}, TANH: {}},
)

WHOLE, BARE, APART = "as in the paper", "without response normalisation", "pooling without overlap"
ERROR = "test error"
PARTS: dict[str, dict[str, Any]] = {WHOLE: {}, BARE: {"lrn": False}, APART: {"overlapping": False}}

EFFECTS = Table(
    title="What response normalisation and overlapping pooling do",
    where="sections 3.3 and 3.4",
    checked="a four-layer network on CIFAR-10, in a public copy of the paper's text.",
    columns={ERROR: "percent"},
    printed={WHOLE: {ERROR: 0.11}, BARE: {ERROR: 0.13}, APART: {ERROR: None}},
)


def epochs_to(shares: Sequence[float], target: float) -> float:
    """Return the epoch at which an error falls to `target`, interpolated linearly; infinite if it never does.

    Args:
        shares: error after 0, 1, 2, ... epochs.
        target: error that has to be reached.
    """
    if shares[0] <= target:
        return 0.0
    for epoch in range(1, len(shares)):
        before, after = shares[epoch - 1], shares[epoch]
        if after <= target:
            return epoch - (target - after) / (before - after)
    return math.inf


def _curve(recipe: Recipe) -> list[float]:
    """Return the training error before the first epoch, by chance, and after every epoch."""
    data = load_data(recipe.data, split="train")
    log = train(build(recipe), data, recipe=recipe, test=data, device="cpu").log
    return [1 - 1 / recipe.num_classes, *(row.clean_error if row.clean_error is not None else 1.0 for row in log)]


def _speeds(
    _: Networks, seed: int, *, base: dict[str, Any], options: dict[str, Any], target: float
) -> dict[Cell, Measured]:
    """Measure the speed of each activation at the learning rate that is fastest for it, as in the paper."""
    cells = {}
    for row, activation in ACTIVATIONS.items():
        times = {}
        for rate in RATES:
            recipe = Recipe(lr=rate, seed=seed, options={"activation": activation, **options}, **base)
            times[rate] = epochs_to(_curve(recipe), target)
            cells[SPEED.cell(row, f"epochs, rate {rate}")] = Measured(times[rate])
        cells[SPEED.cell(row, FASTEST)] = Measured(min(times.values()))
    return cells


def _part(budget: Budget, options: dict[str, Any], shape: tuple[int, int, int], data: str) -> Training:
    narrow = {"model": "alexnet", "input_shape": shape, "options": options}
    crops = Compose(parts=(RandomPatch(size=SIDE), Mirror()))
    how: dict[str, Any] = budget.pick(
        tiny=narrow | {"width": 1 / 48, "epochs": 1},
        small=narrow | {"width": 1 / 12, "epochs": 4},
        paper={"model": FOUR, "input_shape": (3, SIDE, SIDE), "options": PIXELS | options, "augment": crops,
               "epochs": 160},
    )  # fmt: skip
    return Training(recipe=Recipe(data=data, batch_size=50, lr=0.02, clip=1.0, **how))


def _errors_in_the_middle(networks: Networks, _: int, *, cells: Mapping[str, Cell], data: str) -> dict[Cell, Measured]:
    """Measure the error of each network on the middle of the test images, of the size that it sees."""
    x, y = digits_of(data)
    return {cells[name]: error(CropAverage(network, crops=1), x, y) for name, network in networks.items()}


@STUDIES.register("krizhevsky_rectifiers")
def krizhevsky_rectifiers(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of sections 3.1, 3.3 and 3.4."""
    data = budget.pick(tiny="mnist5k(half=1)", small="mnist5k", paper="cifar10")
    shape = budget.pick(tiny=(1, 32, 32), small=(1, 32, 32), paper=(3, 32, 32))
    target = budget.pick(tiny=0.25, small=0.02, paper=0.25)
    model, options = budget.pick(tiny=("lenet5", {}), small=("lenet5", {}), paper=(FOUR, PIXELS | {"lrn": False}))
    base = {
        "model": model, "data": data, "input_shape": shape, "schedule": "constant", "weight_decay": 0.0,
        "batch_size": 50, "epochs": budget.pick(tiny=1, small=6, paper=60),
    }  # fmt: skip
    looked = budget.pick(tiny=errors, small=errors, paper=_errors_in_the_middle)
    measure = partial(looked, cells={name: EFFECTS.cell(name, ERROR) for name in PARTS}, data=data)
    return Study(
        title="Rectifiers, response normalisation, overlapping pooling",
        paper="Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, 2012",
        trainings={name: _part(budget, options, shape, data) for name, options in PARTS.items()},
        measurements={
            "speeds": Measurement(networks=(), measure=partial(_speeds, base=base, options=options, target=target)),
            "effects": Measurement(networks=tuple(PARTS), measure=measure),
        },
        tables=(SPEED, EFFECTS),
        claims=(
            Claim(
                sentence=f"Rectifiers reach {target:.0%} training error in fewer epochs than tanh.",
                where="figure 1",
                smaller=SPEED.cell(RELU, FASTEST),
                larger=SPEED.cell(TANH, FASTEST),
            ),
            Claim(
                sentence="Response normalisation lowers the test error.",
                where="section 3.3",
                smaller=EFFECTS.cell(WHOLE, ERROR),
                larger=EFFECTS.cell(BARE, ERROR),
            ),
            Claim(
                sentence="Overlapping pooling lowers the test error.",
                where="section 3.4",
                smaller=EFFECTS.cell(WHOLE, ERROR),
                larger=EFFECTS.cell(APART, ERROR),
            ),
        ),
        differences=(
            f"Images: {data}; the paper takes CIFAR-10 for rectifiers and normalisation, ImageNet for pooling.",
            f"The training error to be reached is {target:.0%}; the paper's is 25 %.",
            "The small budget takes LeNet-5 for figure 1 and a narrow AlexNet for the rest. The paper has a network of "
            'four layers, which the budget "paper" takes from the published files that it names. Its test images are '
            "seen as one crop from the middle; the paper does not say how many.",
            f"Learning rates are the best of {', '.join(map(str, RATES))}; the paper takes the fastest of its own.",
        ),
    )
