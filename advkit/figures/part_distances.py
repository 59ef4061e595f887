"""Parts of objects that a network relates across images, against random boxes: Zeiler, Fergus 2013, sec. 4.3."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from advkit.core.door import check_number
from advkit.figures._examples import MUTED, _canvas, _written
from advkit.figures._panels import Panel, draw, wrapped
from advkit.insight import Correspondence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442")
"""Okabe and Ito's colours, which people with any colour vision tell apart; markers differ too."""

MARKERS = "osD^vPX"
RANDOM = "#8c959f"


def correspondence_sheet(
    x: Tensor,
    parts: Mapping[str, Sequence[tuple[int, int, int, int]]],
    found: Sequence[Correspondence],
    *,
    labels: Sequence[str] = (),
    value: float = 0.5,
    title: str = "",
    data: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw the images with their parts, and below them the mean distance of each part and of random boxes, by layer.

    Args:
        x: images (N, C, H, W) in [0, 1].
        parts: name of a part -> its boxes (top, left, bottom, right), one for each image.
        found: results of `correspondence`, one for each layer.
        labels: a line above each image; default: none.
        value: colour of the hidden boxes, for the caption.
        title: a line above the picture.
        data: source of the images, for the caption.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: the colour is no finite number, or a path that cannot be written as a picture.
    """
    value = check_number("value", value)
    width = max(1.25 * len(x) + 0.4, 5.5)
    figure = _canvas(width, 1.6 + 2.9 + 0.3 * bool(title), title)
    grid = figure.add_gridspec(2, len(x), height_ratios=[1, 1.9])
    for i, image in enumerate(x):
        boxes = [(part[i], COLOURS[k % len(COLOURS)]) for k, part in enumerate(parts.values())]
        label = labels[i] if labels else ""
        draw(figure.add_subplot(grid[0, i]), Panel(image=image, label=label, boxes=boxes))
    _distances(figure.add_subplot(grid[1, :]), found)
    caption = (
        f"Each box is filled with colour {value:g} in turn. Distance: share of the layer's entries whose change has "
        f"another sign in two images, mean over {found[0].distances.shape[1]} pairs of images. Grey: "
        f"{len(found[0].random)} sets of boxes of the same sizes at random places. Data: {data}."
    )
    figure.supxlabel(wrapped(caption, width), fontsize=7.5, color=MUTED)
    return _written(figure, path)


def _distances(axes: "Axes", found: Sequence[Correspondence]) -> None:
    """One column a layer: the random sets as grey dots, the parts beside them."""
    for place, one in enumerate(found):
        random = one.random_mean.tolist()
        axes.plot(
            [place - 0.25] * len(random),
            random,
            "o",
            color=RANDOM,
            markersize=4,
            alpha=0.6,
            label="" if place else "random boxes",
        )
        for k, (name, mean) in enumerate(zip(one.names, one.mean.tolist(), strict=True)):
            spot = place + 0.5 * (k + 1) / (len(one.names) + 1) - 0.1
            style: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
            axes.plot(
                [spot],
                [mean],
                markersize=8,
                markeredgecolor="#1f2328",
                linestyle="",
                label="" if place else name,
                **style,
            )
    axes.set_xticks(range(len(found)), [one.layer for one in found], fontsize=8)
    axes.set(xlim=(-0.6, len(found) - 0.4), ylim=(0, None))
    axes.set_ylabel("distance of the changes", fontsize=9)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(color="#d0d7de", linewidth=0.6, axis="y")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
