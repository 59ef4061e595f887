"""Tables of rates as pictures, darker where more images fall: transfer between models, a patch by place and size."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from advkit.core.shown import PICTURES
from advkit.evaluation.measure.pose_table import PoseTable
from advkit.evaluation.measure.transfer_matrix import TransferMatrix
from advkit.figures._charts import _expect
from advkit.figures._examples import _canvas, _said, _written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Path_ = str | os.PathLike[str]
Rates = Sequence[Sequence[float | None]]
"""A row of fractions for each name at the left; None where no image counts."""


@PICTURES.register("TransferMatrix")
def transfer_table(matrix: TransferMatrix, *, title: str = "", path: Path_ | None = None) -> "Figure":
    """Draw transfer rates: a row for each model that was attacked, a column for each that was shown the images.

    Args:
        matrix: result of `transfer_matrix`.
        title: a line above the picture; by default the name of the attack and the data.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: a path that cannot be written as a picture.
    """
    _expect(matrix, TransferMatrix)
    data = matrix.data or "the given data"
    counted = f"taken for {matrix.target}" if matrix.target else "wrong"
    title = title or f"{matrix.attack}, {data}, {matrix.count:,} images: {counted}, in % of those right in both"
    figure = _table(matrix.rates, matrix.sources, matrix.names, title, diagonal=True)
    figure.axes[0].set(xlabel="shown to", ylabel="made on")
    return _written(figure, path)


@PICTURES.register("PoseTable")
def pose_rates(table: PoseTable, *, title: str = "", path: Path_ | None = None) -> "Figure":
    """Draw the success of a patch: a row for each place, a column for each size.

    Args:
        table: result of `success_by_pose`.
        title: a line above the picture; by default what the patch does, and on how many images.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: a path that cannot be written as a picture.
    """
    _expect(table, PoseTable)
    counted = f"taken for {table.target}" if table.target else "wrong"
    places = [place.replace("_", " ") for place in table.places]
    sizes = [f"{100 * size:.3g} %" for size in table.sizes]
    figure = _table(table.rates, places, sizes, title or f"{counted}, in % of {table.aimed:,} images")
    figure.axes[0].set(xlabel="size of the patch, of the image's area", ylabel="place")
    return _written(figure, path)


def _table(rates: Rates, rows: Sequence[str], columns: Sequence[str], title: str, diagonal: bool = False) -> "Figure":
    """A cell a rate, in per cent; on the diagonal it is bold."""
    rows, columns = [*map(_said, rows)], [*map(_said, columns)]
    longest = max(map(len, columns))
    figure = _canvas(2.2 + 0.9 * len(columns) + 0.05 * longest, 1.6 + 0.62 * len(rows) + 0.05 * longest, title)
    axes = figure.subplots()
    values = [[float("nan") if rate is None else rate for rate in row] for row in rates]
    axes.imshow(values, cmap="Reds", vmin=0, vmax=1, aspect="auto")
    for r, row in enumerate(rates):
        for c, rate in enumerate(row):
            text = "-" if rate is None else f"{100 * rate:.1f}"
            colour = "white" if rate is not None and rate > 0.55 else "#1f2328"
            weight = "bold" if diagonal and r == c else "normal"
            axes.text(c, r, text, ha="center", va="center", color=colour, weight=weight)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    return figure
