"""The augmentations of Deep Image one by one: what each does to the error, on digits as they are and changed.

Wu, Yan, Shan, Dang, Sun 2015: Deep Image: scaling up image recognition, section 3.2 (arXiv 1501.02876).
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.reproduction.looking_at import BATCH, data_of, wrong
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
from advkit.training.augment import (
    Augmentation,
    ColourCast,
    Compose,
    Mirror,
    RandomPatch,
    RotateCrop,
    ScaleJitter,
    Stretch,
    Vignette,
)

NONE, TOGETHER, CLEAN = "no augmentation", "all four", "as they are"
ONE_BY_ONE: Mapping[str, Augmentation] = {
    "colour casts": ColourCast(),
    "vignette": Vignette(),
    "stretch": Stretch(),
    "rotation and crop": RotateCrop(),
}


def changes(side: int) -> dict[str, Augmentation]:
    """The augmentations by name, for images of this side, in pixels; the last three are usual on photographs anyway."""
    return {
        **ONE_BY_ONE,
        TOGETHER: Compose(parts=tuple(ONE_BY_ONE.values())),
        "mirror": Mirror(),
        "crop": RandomPatch(size=side, padding=side // 8),
        "scales": ScaleJitter(low=side * 8 // 7, high=side * 12 // 7, size=side),
    }


NAMES = tuple(changes(32))

TABLE = Table(
    title="Error of networks (rows) on test digits as they are, and changed by each augmentation (columns)",
    where="section 3.2",
    checked="its text was not found. The names of the changes and the range of casts are as public code quotes them; "
    "it has no such table.",
    columns=dict.fromkeys((CLEAN, *NAMES), "percent"),
    printed={row: {} for row in (NONE, *NAMES)},
)


def _measure(networks: Networks, seed: int, *, data: str) -> dict[Cell, Measured]:
    verdicts: dict[Cell, list[Tensor]] = defaultdict(list)
    images, seen = data_of(data, "test"), 0
    for x, y in images.batches(BATCH):
        altered = changes(x.shape[-1])
        draws = Draws(seed, torch.arange(seen, seen + len(x)))
        seen += len(x)
        for column, shown in ({CLEAN: x} | {name: change(x, draws) for name, change in altered.items()}).items():
            for row, network in networks.items():
                verdicts[TABLE.cell(row, column)].append(wrong(network, shown, y))
    return {cell: Measured.of(torch.cat(parts)) for cell, parts in verdicts.items()}


def _training(budget: Budget, augment: Augmentation | None, data: str, test: str) -> Training:
    small: dict[str, Any] = {"model": "lenet5", "input_shape": (3, 32, 32), "batch_size": 50, "lr": 0.02}
    how: dict[str, Any] = budget.pick(
        tiny=small | {"epochs": 1, "width": 0.5},
        small=small | {"epochs": 15},
        paper={"model": "vgg16", "input_shape": (3, 224, 224), "num_classes": 1000, "batch_size": 256, "lr": 0.01,
               "epochs": 74, "schedule": "steps"},
    )  # fmt: skip
    return Training(recipe=Recipe(data=data, augment=augment, clip=1.0, **how), test=test)


def _claims() -> tuple[Claim, ...]:
    cell, said = TABLE.cell, "Training with {} makes fewer errors than without, on test digits {}."
    pairs = [(row, row, f"changed by {row}") for row in NAMES]
    pairs += [(row, CLEAN, CLEAN) for row in NAMES]
    return claims(
        {said.format(row, shown): (cell(row, column), cell(NONE, column), "seeds") for row, column, shown in pairs}
    )


@STUDIES.register("deep_image")
def deep_image(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of the augmentations."""
    grey = "mnist5k(channels=3)"
    data = budget.pick(tiny="mnist5k(channels=3, half=1)", small="mnist5k(channels=3, half=1)", paper="imagenet")
    test = budget.pick(tiny=grey, small=grey, paper="imagenet")
    side = budget.pick(tiny=32, small=32, paper=224)
    rows: dict[str, Augmentation | None] = {NONE: None, **changes(side)}
    trainings = {row: _training(budget, augment, data, test) for row, augment in rows.items()}
    return Study(
        title="Casts, vignette, stretch, rotation, mirror, crop and scales in training, one by one",
        paper="Wu, Yan, Shan, Dang, Sun: Deep Image: scaling up image recognition, 2015, arXiv 1501.02876",
        trainings=trainings,
        measurements={"errors": Measurement(networks=tuple(trainings), measure=partial(_measure, data=test))},
        tables=(TABLE,),
        claims=_claims(),
        differences=(
            f"Images: {data}; the paper takes ImageNet's photographs. Digits have three equal channels.",
            "The paper trains large networks with all changes, and shows photographs that they read. The networks of "
            "one change each, and the errors on changed test images, are ours.",
            "Mirror, crop and scales are set as for photographs, in shares of the image; a mirrored digit is no digit.",
            "The paper gives an amount for casts only. The others are the augmentations' defaults.",
            "The network is a LeNet-5; the paper's has 16 layers, and no account of their sizes was found. The budget "
            '"paper" takes VGG D.',
        ),
    )
