"""No drop, dropout and DropConnect under three activations, one network and a vote: table 2 of its paper.

Wan, Zeiler, Zhang, LeCun, Fergus 2013: Regularization of neural networks using DropConnect, section 6.1 (ICML 2013).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from advkit.core.guard import Model
from advkit.models import Classifier
from advkit.reproduction.looking_at import digits_of, errors, logits_of
from advkit.reproduction.study import (
    STUDIES,
    Budget,
    Cell,
    Claim,
    Measured,
    Measurement,
    Pooled,
    Study,
    Table,
    Training,
    claims,
)
from advkit.training import Recipe

NONE, DROPOUT, DROPCONNECT = "no drop", "dropout", "DropConnect"
WAYS = (NONE, DROPOUT, DROPCONNECT)
ACTIVATIONS = ("relu", "sigmoid", "tanh")
ONE, VOTE = "error", "error of the vote"

_PRINTED = {
    "relu": ((0.0162, 0.0140), (0.0128, 0.0120), (0.0120, 0.0112)),
    "sigmoid": ((0.0178, 0.0174), (0.0138, 0.0136), (0.0155, 0.0148)),
    "tanh": ((0.0165, 0.0149), (0.0158, 0.0155), (0.0136, 0.0135)),
}


def row(activation: str, way: str) -> str:
    """Return the name of a row and of its networks."""
    return f"{activation}, {way}"


TABLE = Table(
    title="784-800-800-10: one network and the vote of all",
    where="table 2",
    checked="from memory of the paper; not checked in the paper itself.",
    columns={ONE: "percent", VOTE: "percent"},
    printed={
        row(activation, way): {ONE: one, VOTE: vote}
        for activation, ways in _PRINTED.items()
        for way, (one, vote) in zip(WAYS, ways, strict=True)
    },
)


def voted(networks: Sequence[Model], x: Tensor) -> Tensor:
    """Return (N,): the class with the largest mean probability over the networks.

    Args:
        networks: trained networks.
        x: images (N, C, H, W).
    """
    return torch.stack([logits_of(network, x).softmax(1) for network in networks]).mean(0).argmax(1)


def _votes(networks: Mapping[str, Sequence[Classifier]], *, data: str) -> dict[Cell, Measured]:
    x, y = digits_of(data)
    return {TABLE.cell(name, VOTE): Measured.of((voted(own, x) != y).double()) for name, own in networks.items()}


def _training(budget: Budget, activation: str, way: str) -> Training:
    sizes: dict[str, Any] = budget.pick(
        tiny={"width": 1 / 32, "epochs": 1}, small={"width": 1 / 2, "epochs": 12}, paper={"epochs": 100}
    )
    options: dict[str, Any] = {"activation": activation}
    if way == DROPCONNECT:
        options |= {"masks": budget.pick(tiny="batch", small="batch", paper="sample")}
        options |= {"samples": budget.pick(tiny=2, small=20, paper=100)}
    else:
        options |= {"dropout": 0.5 if way == DROPOUT else 0.0}
    recipe = Recipe(
        model="mlp_dropconnect" if way == DROPCONNECT else "mlp", data=budget.digits(), input_shape=(1, 28, 28),
        options=options, optimizer="adamw", lr=1e-3, weight_decay=0.0, batch_size=50, **sizes,
    )  # fmt: skip
    return Training(recipe=recipe)


def _claims() -> tuple[Claim, ...]:
    pairs = [(activation, way, NONE) for activation in ACTIVATIONS for way in (DROPOUT, DROPCONNECT)]
    pairs += [("relu", DROPCONNECT, DROPOUT), ("sigmoid", DROPOUT, DROPCONNECT), ("tanh", DROPCONNECT, DROPOUT)]
    sentences = {
        "With {}, {} makes fewer errors than {}.": (ONE, "seeds"),
        "With {}, a vote of {} networks makes fewer errors than one of {} networks.": (VOTE, "images"),
    }
    return claims(
        {
            sentence.format(activation, better, worse): (
                TABLE.cell(row(activation, better), column), TABLE.cell(row(activation, worse), column), over,
            )
            for sentence, (column, over) in sentences.items()
            for activation, better, worse in pairs
        }
    )  # fmt: skip


@STUDIES.register("wan_dropconnect")
def wan_dropconnect(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of table 2."""
    data, names = budget.digits(), tuple(TABLE.printed)
    ways = {row(activation, way): (activation, way) for activation in ACTIVATIONS for way in WAYS}
    measure = partial(errors, cells={name: TABLE.cell(name, ONE) for name in names}, data=data)
    return Study(
        title="Dropout, DropConnect and neither, under three activations",
        paper="Wan, Zeiler, Zhang, LeCun, Fergus: Regularization of neural networks using DropConnect, 2013, ICML",
        trainings={name: _training(budget, *way) for name, way in ways.items()},
        measurements={
            "errors": Measurement(networks=names, measure=measure),
            "votes": Pooled(networks=names, measure=partial(_votes, data=data)),
        },
        tables=(TABLE,),
        claims=_claims(),
        differences=(
            f"Digits: {data}; the paper takes MNIST's 60,000.",
            "The paper votes with five networks; here all seeds vote, three by default.",
            "The small budget has 400 units a layer instead of 800, and one mask a batch instead of one an image.",
            "DropConnect draws 20 values for each unit at test time (100 at the paper's size); the paper draws 1,000.",
            "AdamW trains for a fixed time; the paper takes SGD from 0.1 in three stages of 600, 400 and 20 epochs.",
        ),
    )
