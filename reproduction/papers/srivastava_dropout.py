"""Ways of regularising a fully connected network: table 9 of the dropout paper.

Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014: Dropout, a simple way to prevent neural networks from
overfitting, section 6.5 (JMLR 15).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from advkit.reproduction.looking_at import errors
from advkit.reproduction.study import STUDIES, Budget, Claim, Measurement, Study, Table, Training, claims
from advkit.training import Recipe

L2, L1, SPARSE, NORM = "L2", "L2 + L1 towards the end", "L2 + KL-sparsity", "max-norm"
DROP_L2, DROP_NORM = "dropout + L2", "dropout + max-norm"
ERROR = "test error"

TABLE = Table(
    title="Regularisation of 784-1024-1024-2048-10",
    where="table 9",
    checked="as retold in nine public notes on the paper, which agree; not checked in the paper itself.",
    columns={ERROR: "percent"},
    printed={
        L2: {ERROR: 0.0162},
        L1: {ERROR: 0.0160},
        SPARSE: {ERROR: 0.0155},
        NORM: {ERROR: 0.0135},
        DROP_L2: {ERROR: 0.0125},
        DROP_NORM: {ERROR: 0.0105},
    },
)

DECAY, CEILING = {"l2": 1e-4}, {"max_norm": 3.0}
DROPPED = {"dropout": 0.5, "input_dropout": 0.2}
KEPT = {"dropout": 0.0, "input_dropout": 0.0}

SETTINGS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    L2: (DECAY, KEPT),
    L1: (DECAY | {"l1": 1e-5, "l1_from": 0.75}, KEPT),
    SPARSE: (DECAY | {"sparsity": 1e-4}, KEPT),
    NORM: (CEILING, KEPT),
    DROP_L2: (DECAY, DROPPED),
    DROP_NORM: (CEILING, DROPPED),
}
"""The penalties of the recipe and the dropout of the network of each row. They were not tuned."""


def _training(budget: Budget, row: str) -> Training:
    penalties, dropout = SETTINGS[row]
    sizes: dict[str, Any] = budget.pick(
        tiny={"width": 1 / 32, "epochs": 1, "batch_size": 100},
        small={"width": 1 / 4, "epochs": 25, "batch_size": 50},
        paper={"width": 1.0, "epochs": 400, "batch_size": 100},
    )
    recipe = Recipe(
        model="mlp", data=budget.digits(), input_shape=(1, 28, 28),
        options={"hidden": (1024, 1024, 2048), **dropout},
        optimizer="adamw", lr=2e-3, weight_decay=0.0, **sizes, **penalties,
    )  # fmt: skip
    return Training(recipe=recipe)


def _claims() -> tuple[Claim, ...]:
    pairs = [(DROP_NORM, other) for other in (L2, L1, SPARSE, NORM, DROP_L2)]
    pairs += [(DROP_L2, L2), (NORM, L2)]
    return claims(
        {
            f"{better[0].upper()}{better[1:]} makes fewer errors than {worse}.": (
                TABLE.cell(better, ERROR), TABLE.cell(worse, ERROR), "seeds",
            )
            for better, worse in pairs
        }
    )  # fmt: skip


@STUDIES.register("srivastava_dropout")
def srivastava_dropout(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of table 9."""
    data = budget.digits()
    measure = partial(errors, cells={row: TABLE.cell(row, ERROR) for row in SETTINGS}, data=data)
    return Study(
        title="Dropout beside other ways of regularising",
        paper="Srivastava et al.: Dropout, a simple way to prevent neural networks from overfitting, 2014, JMLR 15",
        trainings={row: _training(budget, row) for row in SETTINGS},
        measurements={"errors": Measurement(networks=tuple(SETTINGS), measure=measure)},
        tables=(TABLE,),
        claims=_claims(),
        differences=(
            f"Digits: {data}; the paper takes MNIST's 60,000.",
            "The small budget has a quarter of the paper's units in each layer.",
            "The paper tunes every row on held-out digits; here the strengths are fixed beforehand and not tuned.",
            "AdamW trains every row for a fixed time; the paper takes SGD with high momentum.",
        ),
    )
