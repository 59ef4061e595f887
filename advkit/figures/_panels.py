"""Sheets of pictures: rows of panels with a title above and a caption below; the base of most figures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.figures._examples import MUTED, _canvas, _short, _written, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT, SIGNED, BOX, TRUE = "cividis", "PuOr", "#fb8500", "#1b7c83"
"""Maps and colours that people with any colour vision tell apart; 0 is white in the signed map."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        image: (C, H, W), C 1, 2 (drawn orange and blue) or 3; with a `cmap` C is 1.
        label: a line above the image.
        colour: colour of that line.
        cmap: a matplotlib colour map; None for pixels in [0, 1], grey or RGB.
        limits: values at the ends of the map; None takes the image's own range.
        boxes: (box, colour) pairs drawn on it, (top, left, bottom, right) in pixels.
        points: (row, column) pairs marked by a cross.
    """

    image: Tensor
    label: str = ""
    colour: str = MUTED
    cmap: str | None = None
    limits: tuple[float, float] | None = None
    boxes: Sequence[tuple[Box, str]] = ()
    points: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a sheet: a name on the left and its panels; None leaves a place empty."""

    name: str = ""
    panels: Sequence[Panel | None] = field(default_factory=tuple)


def beside(rows: Sequence[Row], blocks: int) -> list[Row]:
    """Equal blocks of rows, next to each other with an empty place between: for wide formats such as slides.

    Names of later blocks' rows are lost, but for the first row's, which goes in front of its panels' labels.

    Raises:
        InputError: blocks of different numbers of rows.
    """
    if blocks < 1 or len(rows) % blocks:
        raise InputError(f"expected {blocks} blocks of one height, got {len(rows)} rows")
    height = len(rows) // blocks
    merged = []
    for i, row in enumerate(rows[:height]):
        panels = list(row.panels)
        for block in range(1, blocks):
            other = rows[block * height + i]
            panels += [None, *(_headed(other.name, panel) if i == 0 else panel for panel in other.panels)]
        merged.append(Row(name=row.name, panels=panels))
    return merged


def _headed(name: str, panel: Panel | None) -> Panel | None:
    return panel and replace(panel, label=f"{name}: {panel.label}" if panel.label else name)


def sheet(
    rows: Sequence[Row],
    *,
    title: str = "",
    caption: str = "",
    side: float = 1.25,
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw rows of panels; rows may have different lengths.

    Args:
        rows: one or more, each with one panel or more.
        title: a line above the picture.
        caption: lines below the picture, such as layer, scale and data.
        side: length of a panel's longer side in inches.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: no panel, or a path that cannot be written as an image.
    """
    columns = max((len(row.panels) for row in rows), default=0)
    if not rows or not columns:
        raise InputError("expected one row with a panel or more, got none")
    aspects = [_aspect(row) for row in rows]
    labelled = [any(panel and panel.label for panel in row.panels) for row in rows]
    heights = [side * a + 0.22 * label for a, label in zip(aspects, labelled, strict=True)]
    named = max((len(part) for row in rows for part in row.name.split("\n")), default=0)
    width = max(side * columns * 1.06 + 0.075 * named + 0.3, 3.6)
    lines = caption.count("\n") + 1 + len(caption) // int(width * 17) if caption else 0
    figure = _canvas(width, sum(heights) * 1.06 + 0.35 * bool(title) + 0.17 * lines + 0.1, title)
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, line in zip(rows, axes, strict=True):
        for i, spot in enumerate(line):
            panel = row.panels[i] if i < len(row.panels) else None
            draw(spot, panel) if panel else spot.set_axis_off()
        line[0].set_ylabel(row.name, fontsize=9, color=MUTED, rotation=0, ha="right", va="center")
    if caption:
        figure.supxlabel(wrapped(caption, width), fontsize=7.5, color=MUTED)
    return _written(figure, path)


def _aspect(row: Row) -> float:
    shapes = [panel.image.shape for panel in row.panels if panel]
    return max(min(shape[1] / shape[2], 2.0) for shape in shapes)


def wrapped(caption: str, width: float) -> str:
    """Break the caption into lines that fit a figure of this many inches."""
    from textwrap import fill

    return "\n".join(fill(line, max(int(width * 17), 30)) for line in caption.split("\n"))


def draw(axes: "Axes", panel: Panel) -> None:
    """Draw one panel; pixels as they are, without smoothing."""
    pixels = visible(panel.image.detach().cpu().to(torch.float32))
    options: dict[str, Any] = {"cmap": panel.cmap or "gray"}
    if panel.cmap is None:
        pixels, limits = pixels.clamp(0, 1), (0.0, 1.0)
    else:
        limits = panel.limits or (float(pixels.amin()), float(pixels.amax()))
    options |= {"vmin": limits[0], "vmax": max(limits[1], limits[0] + 1e-12)}
    grey = pixels.shape[0] == 1
    axes.imshow(
        pixels[0].numpy() if grey else pixels.permute(1, 2, 0).numpy(),
        interpolation="nearest",
        **(options if grey else {}),
    )
    axes.set_title(_short(panel.label, 26), fontsize=7.5, color=panel.colour, pad=2)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#d0d7de", linewidth=0.6)
    for (top, left, bottom, right), colour in panel.boxes:
        x, y = (left, right, right, left, left), (top, top, bottom, bottom, top)
        axes.plot([v - 0.5 for v in x], [v - 0.5 for v in y], color=colour, linewidth=1.5)
    for y, x in panel.points:  # type: ignore[assignment]
        axes.plot([x], [y], marker="+", color=BOX, markersize=8, markeredgewidth=1.6)
    height, width = pixels.shape[1:]
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))  # a box may leave the image


def signed(image: Tensor) -> tuple[Tensor, float]:
    """Scale a projection (C, H, W) to [0, 1] with 0 at grey .5; also return the largest absolute value."""
    peak = float(image.abs().amax())
    return image / (2 * peak if peak > 0 else 1.0) + 0.5, peak
