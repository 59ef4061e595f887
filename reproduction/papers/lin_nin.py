"""Network in network with and without dropout, global average pooling against a fully connected head.

Lin, Chen, Yan 2013: Network in network, sections 4.2 and 4.6 (arXiv 1312.4400).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from advkit.reproduction.looking_at import errors
from advkit.reproduction.study import STUDIES, Budget, Claim, Measurement, Study, Table, Training
from advkit.training import Recipe

AVERAGE, CONNECTED, DROPPED = "global average pooling", "fully connected", "fully connected + dropout"
UNDROPPED = "global average pooling, no dropout between blocks"
ERROR = "test error"

TABLE = Table(
    title="What reads the last maps, and dropout between the blocks",
    where="table 5 and section 4.2",
    checked="CIFAR-10, from memory of the paper; not checked in the paper itself.",
    columns={ERROR: "percent"},
    printed={
        AVERAGE: {ERROR: 0.1041},
        CONNECTED: {ERROR: 0.1159},
        DROPPED: {ERROR: 0.1088},
        UNDROPPED: {ERROR: None},
    },
)

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    AVERAGE: {"dropout": 0.5},
    CONNECTED: {"dropout": 0.5, "head": "connected"},
    DROPPED: {"dropout": 0.5, "head": "connected", "head_dropout": 0.5},
    UNDROPPED: {"dropout": 0.0},
}


def _training(budget: Budget, options: Mapping[str, Any], data: str, test: str) -> Training:
    how: dict[str, Any] = budget.pick(
        tiny={"width": 1 / 48, "epochs": 1, "input_shape": (1, 28, 28)},
        small={"width": 1 / 8, "epochs": 15, "input_shape": (1, 28, 28)},
        paper={"width": 1.0, "epochs": 100, "input_shape": (3, 32, 32)},
    )
    recipe = Recipe(
        model="nin", data=data, options=dict(options), optimizer="adamw", lr=4e-3, weight_decay=1e-2, clip=1.0,
        batch_size=50, **how,
    )  # fmt: skip
    return Training(recipe=recipe, test=test)


@STUDIES.register("lin_nin")
def lin_nin(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of sections 4.2 and 4.6."""
    data = budget.pick(tiny=budget.digits("half=1"), small=budget.digits("half=1"), paper="cifar10")
    test = budget.pick(tiny=budget.digits(), small=budget.digits(), paper="cifar10")
    measure = partial(errors, cells={row: TABLE.cell(row, ERROR) for row in OPTIONS}, data=test)
    sentences = {
        "Global average pooling makes fewer errors than a fully connected head.": (AVERAGE, CONNECTED, "table 5"),
        "Global average pooling makes fewer errors than a fully connected head with dropout.": (
            AVERAGE, DROPPED, "table 5",
        ),
        "Dropout before the fully connected head makes fewer errors than none.": (DROPPED, CONNECTED, "table 5"),
        "Dropout between the blocks makes fewer errors than none.": (AVERAGE, UNDROPPED, "section 4.2"),
    }  # fmt: skip
    return Study(
        title="Network in network: dropout, and global average pooling",
        paper="Lin, Chen, Yan: Network in network, 2013, arXiv 1312.4400",
        trainings={row: _training(budget, options, data, test) for row, options in OPTIONS.items()},
        measurements={"errors": Measurement(networks=tuple(OPTIONS), measure=measure)},
        tables=(TABLE,),
        claims=tuple(
            Claim(sentence=said, where=where, smaller=TABLE.cell(better, ERROR), larger=TABLE.cell(worse, ERROR))
            for said, (better, worse, where) in sentences.items()
        ),
        differences=(
            f"Images: {data}; the paper's figures are on CIFAR-10. On MNIST it prints 0.47 % for the first row.",
            "The small budget has an eighth of the paper's maps and trains on half of the digits.",
            "AdamW trains for a fixed time; the paper takes SGD until the training error no longer falls.",
            "The logits of the averaged maps are not rectified.",
        ),
    )
