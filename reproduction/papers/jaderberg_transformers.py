"""Distorted and cluttered digits read with and without a spatial transformer: table 1 and the text beside it.

Jaderberg, Simonyan, Zisserman, Kavukcuoglu 2015: Spatial transformer networks, section 4.1 (arXiv 1506.02025).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from advkit.reproduction.looking_at import errors
from advkit.reproduction.study import STUDIES, Budget, Cell, Claim, Measurement, Study, Table, Training, claims
from advkit.training import Recipe

CLUTTERED = "cluttered"
SIDES = {"R": 32, "RTS": 42, "P": 32, "E": 32, CLUTTERED: 60}
"""The side of the images of each variant of `distorted_mnist`."""

FCN, CNN = "FCN", "CNN"
MODELS = {FCN: "stn_fcn", CNN: "stn_cnn"}
KINDS = {"affine": "affine", "projective": "projective", "thin plate spline": "tps"}
BENT = "thin plate spline"


def behind(kind: str, net: str) -> str:
    """Return the name of the row of a network behind a transformer."""
    return f"ST-{net} {kind}"


ROWS = {net: (MODELS[net], "none") for net in MODELS}
ROWS |= {behind(kind, net): (MODELS[net], transform) for net in MODELS for kind, transform in KINDS.items()}
"""The network and the transformer of each row of the table."""

_PRINTED = (
    (0.021, 0.052, 0.031, 0.032), (0.012, 0.008, 0.015, 0.014),
    (0.012, 0.008, 0.015, 0.027), (0.013, 0.009, 0.014, 0.026), (0.011, 0.008, 0.014, 0.024),
    (0.007, 0.005, 0.008, 0.012), (0.008, 0.006, 0.008, 0.013), (0.007, 0.005, 0.008, 0.011),
)  # fmt: skip

TABLE = Table(
    title="Error on distorted digits: rotated (R), also moved and scaled (RTS), projective (P), elastic (E)",
    where="table 1",
    checked="the whole table in three public accounts of the paper, which agree; the claims in a copy of its text.",
    columns=dict.fromkeys(("R", "RTS", "P", "E"), "percent"),
    printed={row: dict(zip(SIDES, shares, strict=False)) for row, shares in zip(ROWS, _PRINTED, strict=True)},
)

CLUTTER = Table(
    title="Error on digits anywhere among pieces of others, on a canvas of 60 x 60",
    where="section 4.1",
    checked="in a public copy of the section's text.",
    columns={CLUTTERED: "percent"},
    printed={
        FCN: {CLUTTERED: 0.132},
        CNN: {CLUTTERED: 0.035},
        behind("affine", FCN): {CLUTTERED: 0.020},
        behind("affine", CNN): {CLUTTERED: 0.017},
    },
)

WIDTHS = {
    FCN: {32: 1.17, 42: 0.791, 60: 0.42},
    CNN: {32: 1.797, 42: 1.64, 60: 1.39},
    f"ST-{FCN}": {32: 1.078, 42: 0.713, 60: 0.377},
    f"ST-{CNN}": {32: 1.39, 42: 1.15, 60: 0.89},
}
"""The width at which a network has the paper's 400,000 parameters, by the side of the images."""

LOCALISER = 0.1
"""The share of the learning rate at which transformers learn among clutter, which is the paper's on house numbers.

At the full rate a transformer of fully connected layers may leave the digits in its first steps.
"""

Pairs = Mapping[tuple[str, str], str]


def better_pairs(kinds: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """Return the rows that the section compares, the better one first, with its sentence."""
    names = {FCN: "fully connected network", CNN: "convolutional network"}
    pairs = {
        (behind(kind, net), net): f"A transformer ({kind}) in front of the {names[net]} makes fewer errors than none"
        for net in MODELS
        for kind in kinds
    }
    pairs[CNN, FCN] = "The convolutional network makes fewer errors than the fully connected one"
    for kind in kinds:
        said = (
            f"Behind a transformer ({kind}) the convolutional network makes fewer errors than the fully connected one"
        )
        pairs[behind(kind, CNN), behind(kind, FCN)] = said
    return pairs


def _bent(rival: str, net: str) -> tuple[tuple[str, str], str]:
    said = f"In front of the {net} a thin plate spline makes fewer errors than a transformer that is {rival}"
    return (behind(BENT, net), behind(rival, net)), said


def _claims(table: Table, columns: tuple[str, ...], pairs: Pairs, cells: tuple[Cell, ...]) -> tuple[Claim, ...]:
    """Return those claims whose cells are measured."""
    return claims(
        {
            f"{sentence}: {column}.": (table.cell(better, column), table.cell(worse, column), "seeds")
            for (better, worse), sentence in pairs.items()
            for column in columns
            if {table.cell(better, column), table.cell(worse, column)} <= set(cells)
        }
    )


def _data(budget: Budget, variant: str) -> str:
    """Return the data. The small budget distorts each digit four times for training; clutter and "paper", ten times."""
    small = "mnist5k" if variant == CLUTTERED else "mnist5k, copies=4"
    source = budget.pick(tiny="mnist5k, copies=1", small=small, paper="mnist")
    return f"distorted_mnist(variant={variant}, source={source})"


def _test_data(budget: Budget, variant: str) -> str:
    """Return the data of the test: each digit distorted once."""
    source = budget.pick(tiny="mnist5k", small="mnist5k", paper="mnist")
    return f"distorted_mnist(variant={variant}, source={source})"


def _training(budget: Budget, row: str, variant: str) -> Training:
    (model, transform), side = ROWS[row], SIDES[variant]
    narrow, epochs = 1.0 if model == "stn_fcn" else 0.125, 2 if variant == CLUTTERED else 1
    how: dict[str, Any] = budget.pick(
        tiny={"epochs": 1, "width": 0.125, "optimizer": "adamw", "lr": 2e-3},
        small={"epochs": epochs, "width": narrow, "optimizer": "adamw", "lr": 2e-3, "batch_size": 32},
        paper={"epochs": 65, "width": WIDTHS[row.split()[0]][side], "optimizer": "sgd", "lr": 0.01,
               "schedule": "steps", "batch_size": 256},
    )  # fmt: skip
    share = LOCALISER if variant == CLUTTERED and transform != "none" else 1.0
    recipe = Recipe(
        model=model, data=_data(budget, variant), input_shape=(1, side, side), options={"transform": transform},
        weight_decay=0.0, clip=1.0, channels_last=model == "stn_cnn", layer_decay=share, **how,
    )  # fmt: skip
    return Training(recipe=recipe, test=_test_data(budget, variant))


def _measurement(budget: Budget, cells: tuple[Cell, ...], variant: str) -> Measurement:
    seen = {_name(cell): cell for cell in cells if cell.column == variant}
    return Measurement(networks=tuple(seen), measure=partial(errors, cells=seen, data=_test_data(budget, variant)))


def _name(cell: Cell) -> str:
    return f"{cell.row}, {cell.column}"


def _study(title: str, budget: Budget, table: Table, cells: tuple[Cell, ...], made: tuple[Claim, ...]) -> Study:
    """Declare the networks and figures of some cells of a table. Networks of one column come one after another."""
    variants = dict.fromkeys(cell.column for cell in cells)
    return Study(
        title=title,
        paper="Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial transformer networks, 2015, arXiv 1506.02025",
        trainings={_name(cell): _training(budget, cell.row, cell.column) for cell in cells},
        measurements={f"errors on {variant}": _measurement(budget, cells, variant) for variant in variants},
        tables=(table,),
        claims=made,
        differences=(
            f"Digits: {_data(budget, next(iter(variants)))} and its like; the paper distorts the 60,000 of MNIST.",
            'The paper gives all networks about as many parameters, some 400,000, as the budget "paper" does by '
            "their width. Those of the small budget have 0.01 to 0.6 million, and up to 1.1 million on a canvas of "
            "60 x 60.",
            "The paper trains for 150,000 steps of 256 images by SGD from 0.01, divided by 10 twice. The small budget "
            f"takes {500 if CLUTTERED not in variants else 2500} steps of 32 by AdamW, and its convolutional networks "
            "have an eighth of their maps.",
            "Among clutter a transformer learns at a tenth of the learning rate. The paper says so of house numbers "
            "alone.",
            "The ranges of R and RTS, the moves of E and the six pieces of clutter are those of public accounts of the "
            "paper's appendix; the moves of the corners in P are not checked.",
        ),
    )


@STUDIES.register("jaderberg_transformers")
def jaderberg_transformers(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of table 1."""
    rows = budget.pick(tiny=(FCN, behind("affine", FCN)), small=tuple(ROWS), paper=tuple(ROWS))
    columns = budget.pick(tiny=("R",), small=tuple(TABLE.columns), paper=tuple(TABLE.columns))
    cells = tuple(TABLE.cell(row, column) for column in columns for row in rows)
    made = _claims(TABLE, columns, better_pairs(tuple(KINDS)), cells)
    if "E" in columns:
        bent = dict(_bent(rival, net) for net in MODELS for rival in ("affine", "projective"))
        made += _claims(TABLE, ("E",), bent, cells)
    return _study("Distorted digits, with and without a spatial transformer", budget, TABLE, cells, made)


@STUDIES.register("jaderberg_clutter")
def jaderberg_clutter(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims on digits among clutter."""
    rows = budget.pick(tiny=(FCN, behind("affine", FCN)), small=tuple(CLUTTER.printed), paper=tuple(CLUTTER.printed))
    cells = tuple(CLUTTER.cell(row, CLUTTERED) for row in rows)
    made = _claims(CLUTTER, (CLUTTERED,), better_pairs(("affine",)), cells)
    return _study("Digits among clutter, with and without a spatial transformer", budget, CLUTTER, cells, made)
