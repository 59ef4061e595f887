"""Digits found without being shown a box, alone and among clutter: table 5.

Jaderberg, Simonyan, Zisserman, Kavukcuoglu 2015: Spatial transformer networks, appendix A.2 (arXiv 1506.02025).
"""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.data import load_data
from advkit.data.distorted_mnist import FRAME, DistortedMNIST
from advkit.data.mnist5k import DIGITS
from advkit.insight.colocalise import Colocaliser, TripletLoss, overlap
from advkit.insight.train_colocaliser import RECIPE, of_side
from advkit.models import Classifier
from advkit.reproduction.looking_at import BATCH
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
    claims,
)
from advkit.training import Recipe

ALONE, CLUTTERED = "alone", "among clutter"
ALL, BY_CHANCE = "all digits", "a crop at a random place"
HALF = 0.5
"""The overlap from which on a digit counts as found."""

STREAM = 9
"""The random numbers of the crops by chance are others than those that place the digits."""

TABLE = Table(
    title="Digits whose box overlaps the true one by half or more; among clutter the paper has 75 to 93 % by class",
    where="table 5",
    checked="the text of the appendix in a public copy, without the table itself: its figures by class are missing.",
    columns={ALONE: "percent", CLUTTERED: "percent"},
    printed={row: {ALONE: 1.0} for row in (ALL, *DIGITS)} | {BY_CHANCE: {}},
)


def localiser(*, input_shape: tuple[int, int, int], num_classes: int = 10) -> Classifier:
    """Return an untrained co-localiser, which crops the middle of an image.

    Args:
        input_shape: shape (1, S, S) of the images.
        num_classes: number of classes of its LeNet-5, which is always ten.
    """
    return of_side(input_shape[1])


def crops_by_chance(count: int, side: int, seed: int) -> Tensor:
    """Return boxes (N, 4) of a digit's size at random places.

    Args:
        count: number of boxes.
        side: side of the images in pixels.
        seed: seed of the places.
    """
    corner = Draws(seed, torch.arange(count)).uniform(0, (2,), STREAM) * (side - FRAME)
    return torch.cat([corner, corner + FRAME], 1).float()


def found_by_class(found: Tensor, y: Tensor, column: str) -> dict[Cell, Measured]:
    """Return the share of found digits, of all and of each class.

    Args:
        found: 1 where a digit is found, else 0 (N,).
        y: classes (N,).
        column: column of the table.
    """
    cells = {TABLE.cell(ALL, column): Measured.of(found)}
    for label, name in enumerate(DIGITS):
        cells[TABLE.cell(name, column)] = Measured.of(torch.where(y == label, found, math.nan))
    return cells


def _measure(networks: Networks, seed: int, *, data: dict[str, str]) -> dict[Cell, Measured]:
    cells: dict[Cell, Measured] = {}
    for column, network in networks.items():
        digits = load_data(data[column], split="test")
        assert isinstance(digits, DistortedMNIST)
        assert isinstance(network.net, Colocaliser)
        boxes, true = torch.cat([network.net.boxes(x) for x, _ in digits.batches(BATCH)]), digits.boxes()
        chance = crops_by_chance(len(true), digits.input_shape[1], seed)
        cells |= found_by_class((overlap(boxes, true) >= HALF).double(), digits.labels, column)
        cells[TABLE.cell(BY_CHANCE, column)] = Measured.of((overlap(chance, true) >= HALF).double())
    return cells


def _claims() -> tuple[Claim, ...]:
    cell = TABLE.cell
    sentences = {"Fewer digits are found among clutter than alone.": (cell(ALL, CLUTTERED), cell(ALL, ALONE), "seeds")}
    for column in TABLE.columns:
        said = f"The transformer finds more digits than crops at random places do: {column}."
        sentences[said] = (cell(BY_CHANCE, column), cell(ALL, column), "images")
    return claims(sentences)


@STUDIES.register("jaderberg_colocalisation")
def jaderberg_colocalisation(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of the co-localisation of digits."""
    source, side, many = budget.pick(tiny=("mnist5k", 60, 6), small=("mnist5k", 60, 6), paper=("mnist", 84, 16))
    patches = {ALONE: 0, CLUTTERED: many}
    data = {
        column: f"distorted_mnist(variant=cluttered, source={source}, patches={count}, side={side})"
        for column, count in patches.items()
    }
    copies = budget.pick(tiny=1, small=3, paper=1)
    recipes = {column: _recipe(budget, column, f"{spec[:-1]}, copies={copies})", side) for column, spec in data.items()}
    trainings = {
        column: Training(recipe=recipe, test=data[column], loss=TripletLoss()) for column, recipe in recipes.items()
    }
    return Study(
        title="Digits that a transformer finds without being shown a box",
        paper="Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial transformer networks, 2015, arXiv 1506.02025",
        trainings=trainings,
        measurements={"boxes": Measurement(networks=tuple(data), measure=partial(_measure, data=data))},
        tables=(TABLE,),
        claims=_claims(),
        differences=(
            f"Canvases of {side} x {side} with {many} patches of clutter; the paper has 84 x 84 and 16.",
            "One network serves the ten sets of digits, and finds test digits that it has not seen. The paper trains "
            "one network for each set, on 100 images, and counts these.",
            "The encoding is the last hidden layer of a LeNet-5, scaled to length 1; the paper takes three layers of "
            "its own network.",
            "The crop may be 0.8 to 1.25 times as large as a digit's frame, and a penalty keeps it inside the image.",
            "Crops at random places are ours: the paper has none in its table.",
        ),
    )


def _recipe(budget: Budget, column: str, data: str, side: int) -> Recipe:
    """Among clutter the small budget trains as long as the recipe; alone, digits are found sooner."""
    epochs = budget.pick(tiny=1, small=8 if column == ALONE else RECIPE.epochs, paper=RECIPE.epochs)
    batch_size = budget.pick(tiny=500, small=128, paper=128)
    return replace(
        RECIPE, model=f"{__name__}:localiser", data=data, input_shape=(1, side, side), epochs=epochs,
        batch_size=batch_size,
    )  # fmt: skip
