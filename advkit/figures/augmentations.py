"""A sheet of augmentations: the same images, changed in one way a row."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from advkit.core.errors import InputError
from advkit.figures._examples import MUTED, _panel, _sheet, _short, _written, drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def augmentations(
    rows: Sequence[tuple[str, Tensor]],
    *,
    labels: Sequence[str] | None = None,
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw each row's images side by side, its name beside them; pixels as they are, without smoothing.

    Args:
        rows: names and images (N, C, H, W) in [0, 1], C 1 or 3; N is the same in all rows, H and W need not be.
        labels: a line above each column; default: none.
        title: a line above the picture.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Returns:
        The matplotlib figure; it has no window and need not be closed.

    Raises:
        InputError: there is no row, shapes do not fit, or the path cannot be written as an image.
    """
    _check(rows, labels)
    columns = len(rows[0][1])
    figure = _sheet(columns, title)
    _, _, height, width = rows[0][1].shape
    inches = 1.55 * min(height / width, 2)  # of a row: nearly what the columns of `_sheet` are wide
    figure.set_size_inches(figure.get_figwidth() + 0.5, inches * len(rows) + 0.6)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, images) in enumerate(rows):
        for column, image in enumerate(images.detach().cpu().double()):
            _panel(axes[row, column], image, _short(labels[column]) if labels and not row else "", MUTED)
        axes[row, 0].set_ylabel(name, fontsize=9, color=MUTED, rotation=0, ha="right", va="center")
    return _written(figure, path)


def _check(rows: Sequence[tuple[str, Tensor]], labels: Sequence[str] | None) -> None:
    if not rows:
        raise InputError("expected one row or more, got none")
    count = len(rows[0][1])
    for name, images in rows:
        if not drawable(images) or len(images) != count:
            shape = tuple(images.shape)
            raise InputError(f"expected {max(count, 1)} images (N, C, H, W), C 1 to 3, in row {name!r}, got {shape}")
    if labels is not None and len(labels) != count:
        raise InputError(f"expected one label for each of {count} images, got {len(labels)}")
