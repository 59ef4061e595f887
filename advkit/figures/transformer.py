"""The effect of a spatial transformer: input, sampling grid, output (Jaderberg et al. 2015, arXiv 1506.02025)."""

import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.figures._examples import MUTED, _canvas, _panel, _written, drawable
from advkit.figures._panels import wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 8
"""Lines of the sampling grid that are drawn, each way."""

GRID = "#fb8500"


def transformations(
    x: Tensor,
    points: Tensor,
    output: Tensor,
    *,
    labels: tuple[str, ...] | None = None,
    title: str = "",
    data: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw each image, the image with the sampling grid on it, and the transformer's output.

    The lines run through the source points of the output's pixels; the border is the edge of the output.
    Several transformers that look at the same images get a grid and an output each.

    Args:
        x: images (N, C, H, W) in [0, 1], N at least 1; C 1, 2 (drawn orange and blue) or 3.
        points: source points (N, H', W', 2), x and y in [-1, 1] over the image, as `SpatialTransformer.points` gives;
            of T transformers (T, N, H', W', 2).
        output: output of the transformer (N, C, H', W'), in the units of x; of T transformers (T, N, C, H', W').
        labels: a line above each image; default: none.
        title: a line above the picture.
        data: source of the images; with it a caption says what is drawn.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Returns:
        The matplotlib figure; it has no window and need not be closed.

    Raises:
        InputError: shapes that do not fit, or a path that cannot be written as an image.
    """
    x, points, output = (part.detach().cpu().double() for part in (x, points, output))
    if points.ndim == 4 and output.ndim == 4:
        points, output = points[None], output[None]
    _check(x, points, output, labels)
    width = max(1.7 * len(x) + 0.4, 4.0)
    caption = wrapped(_caption(x, points, data), width) if data else ""
    lines = caption.count("\n") + 1 if caption else 0
    height = 1.95 * (1 + 2 * len(points)) + 0.05 + 0.3 * bool(title) + 0.17 * lines
    figure = _canvas(width, height, title)
    axes = figure.subplots(1 + 2 * len(points), len(x), squeeze=False)
    for column in range(len(x)):
        _panel(axes[0, column], x[column], labels[column] if labels else "", MUTED)
        for row, (grid, made) in enumerate(zip(points, output, strict=True)):
            _panel(axes[1 + 2 * row, column], x[column], "", MUTED)
            _grid(axes[1 + 2 * row, column], grid[column], (x.shape[2], x.shape[3]))
            _panel(axes[2 + 2 * row, column], made[column], "", MUTED)
    for row, name in enumerate(_names(len(points))):
        axes[row, 0].set_ylabel(name, fontsize=10, color=MUTED)
    if caption:
        figure.supxlabel(caption, fontsize=7.5, color=MUTED)
    return _written(figure, path)


def _caption(x: Tensor, points: Tensor, data: str) -> str:
    """What the rows show, in words."""
    sizes = "x".join(map(str, points.shape[2:4])), "x".join(map(str, x.shape[2:]))
    channels = "; first channel orange, second blue" if x.shape[1] == 2 else ""
    return (
        f"Orange lines: where the {sizes[0]} pixels of the output are taken from in the image of {sizes[1]}, {LINES} "
        f"lines each way; beyond the image lies the normalised image's 0. Pixels from 0 (black) to 1{channels}. "
        f"Data: {data}."
    )


def _names(transformers: int) -> list[str]:
    """The names of the rows."""
    if transformers == 1:
        return ["input", "sampling grid", "output"]
    return ["input", *(name for i in range(transformers) for name in (f"transformer {i + 1}", f"output {i + 1}"))]


def _check(x: Tensor, points: Tensor, output: Tensor, labels: tuple[str, ...] | None) -> None:
    if not drawable(x):
        raise InputError(f"expected images (N, C, H, W) with N >= 1 and C 1 to 3, got {tuple(x.shape)}")
    size = tuple(output.shape[3:])
    if output.shape[1:3] != x.shape[:2] or points.shape != (len(output), len(x), *size, 2):
        raise InputError(
            f"expected output (N, C, H', W') and points (N, H', W', 2) for images {tuple(x.shape)}, with T in front of "
            f"both for T transformers, got {tuple(output.shape)} and {tuple(points.shape)}"
        )
    if labels is not None and len(labels) != len(x):
        raise InputError(f"expected one label for each of {len(x)} images, got {len(labels)}")


def to_pixels(points: Tensor, size: tuple[int, int]) -> Tensor:
    """x and y in [-1, 1] over an image (H, W) -> column and row, pixel centres at whole numbers."""
    height, width = size
    return ((points + 1) * torch.tensor([width, height], dtype=points.dtype) - 1) / 2


def _grid(axes: "Axes", points: Tensor, size: tuple[int, int]) -> None:
    """Some rows and columns of the source points (H', W', 2), the first and the last among them."""
    places = to_pixels(points, size)
    for lines in (places, places.transpose(0, 1)):
        for i in torch.linspace(0, len(lines) - 1, min(LINES, len(lines))).round().long().tolist():
            edge = i in (0, len(lines) - 1)
            axes.plot(*lines[i].T.numpy(), color=GRID, linewidth=1.4 if edge else 0.6)
    height, width = size
    margin = 0.15
    axes.set(xlim=(-0.5 - margin * width, width * (1 + margin) - 0.5))
    axes.set(ylim=(height * (1 + margin) - 0.5, -0.5 - margin * height))
    axes.set_facecolor("#30363d")
