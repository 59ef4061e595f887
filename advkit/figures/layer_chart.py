"""How far the activations move, layer by layer: adversarial images against noise of the same size."""

import os
from typing import TYPE_CHECKING

from advkit.core.errors import check_given
from advkit.figures._examples import MUTED, _canvas, _written
from advkit.figures._panels import BOX, wrapped
from advkit.figures.answers import OWN
from advkit.insight import Movement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def movement_chart(
    found: Movement, *, title: str = "", data: str = "", path: str | os.PathLike[str] | None = None
) -> "Figure":
    """Draw how far the activations move layer by layer: medians with the quartiles, adversarial and noise.

    Args:
        found: result of `movement`.
        title: a line above the picture.
        data: images, attack and noise, for the caption.
        path: file to write, PNG, PDF or SVG by its ending; by default none.
    """
    check_given("found", found, Movement, "the result of movement(model, x, x_adv)")
    width = max(0.32 * len(found.layers) + 2.0, 5.5)
    figure = _canvas(width, 4.4, title)
    axes = figure.subplots()
    places = range(len(found.layers))
    for values, colour, marker, name in (
        (found.adversarial, OWN, "o", "adversarial"),
        (found.noise, BOX, "s", "noise of the same size"),
    ):
        low, middle, high = values.clamp_min(1e-6).quantile(values.new_tensor([0.25, 0.5, 0.75]), dim=1)
        axes.fill_between(places, low.numpy(), high.numpy(), color=colour, alpha=0.2, linewidth=0)
        axes.plot(places, middle.numpy(), color=colour, marker=marker, markersize=4, label=name)
    axes.set_yscale("log")
    axes.set_ylabel("relative movement\n|phi(x') - phi(x)| / |phi(x)|", fontsize=9)
    for kind in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        kind(lambda value, _: f"{value:g}")
    axes.tick_params(axis="y", which="both", labelsize=8)
    axes.set_xticks(list(places), found.layers, rotation=60, ha="right", fontsize=7)
    axes.grid(color="#d0d7de", linewidth=0.6, which="both", axis="y")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9)  # no line lies there
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
    caption = (
        "Lines: medians over the images; bands: quartiles. Noise: the same perturbations with their entries shuffled "
    )
    caption += f"and their signs drawn, so that every norm stays. Data: {data}."
    figure.supxlabel(wrapped(caption, width), fontsize=7.5, color=MUTED)
    return _written(figure, path)
