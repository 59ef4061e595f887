"""Lipschitz bounds of a network: the layers' operator norms, and their product. Szegedy et al. 2013, sec. 4.3."""

import os
from typing import TYPE_CHECKING

from advkit.certification import Lipschitz
from advkit.core.errors import check_given
from advkit.figures._examples import MUTED, _canvas, _written
from advkit.figures._panels import BOX, wrapped
from advkit.figures.answers import OWN

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def lipschitz_chart(
    found: Lipschitz, *, title: str = "", data: str = "", path: str | os.PathLike[str] | None = None
) -> "Figure":
    """Draw the bound of every layer as a bar, and above it the bound from the image to its output as a line.

    Args:
        found: result of `lipschitz`.
        title: a line above the picture.
        data: source of the input sizes, for the caption.
        path: file to write, PNG, PDF or SVG by its ending; by default none.
    """
    check_given("found", found, Lipschitz, "the result of lipschitz(model, x)")
    names = [layer.name or layer.kind for layer in found.layers]
    width = max(0.42 * len(names) + 1.5, 5.5)
    figure = _canvas(width, 5.6, title)
    above, below = figure.subplots(2, sharex=True)
    places = range(len(names))
    constants, norms = ([getattr(layer, part) for layer in found.layers] for part in ("constant", "norm"))
    above.plot(places, constants, color=BOX, marker="s", markersize=4)
    above.set_yscale("log")
    above.set_ylabel("from the image\nto this layer", fontsize=9)
    below.bar(places, norms, color=OWN, alpha=0.8)
    for place, norm in zip(places, norms, strict=True):
        below.text(place, norm, f"{norm:.3g}", ha="center", va="bottom", fontsize=7)
    below.set_ylabel("the layer alone", fontsize=9)
    below.set_ylim(0, 1.15 * max(norms, default=1.0))
    below.set_xticks(list(places), names, rotation=60, ha="right", fontsize=7)
    for axes in (above, below):
        axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", which="both", labelsize=8)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
    caption = (
        "Upper bounds of Lipschitz constants in l2, at the layers' input sizes; from the image to the logits "
        f"{found.constant:.3g}. {data}"
    )
    figure.supxlabel(wrapped(caption, width), fontsize=7.5, color=MUTED)
    return _written(figure, path)
