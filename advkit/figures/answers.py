"""Images and their likeliest classes as bars, as in figure 4 of Krizhevsky, Sutskever, Hinton 2012."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from advkit.core.errors import InputError
from advkit.figures._examples import MUTED, _canvas, _short, _written
from advkit.figures._panels import Panel, draw, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OWN, OTHER = "#0969da", "#8c959f"
BARS = 5


def answers_sheet(
    rows: Sequence[tuple[str, Tensor, Tensor]],
    *,
    y: Sequence[int | None],
    classes: Sequence[str] | None = None,
    turned: bool = False,
    title: str = "",
    data: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw each image above its five likeliest classes as bars; the true class's bar is blue, the others are grey.

    Args:
        rows: groups such as clean and adversarial, each (name, images (N, C, H, W) in [0, 1], logits (N, K)).
        y: the true class of each of the N images, or None where it is not known.
        classes: names of the classes; default: their numbers.
        turned: True draws a group as a column and an image as a row; False the other way round.
        title: a line above the picture.
        data: source of the images, for the caption.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: there is no row, or rows have different lengths.
    """
    if not rows or any(len(x) != len(y) or len(logits) != len(y) for _, x, logits in rows):
        raise InputError(f"expected one image and one answer for each of {len(y)} images in every group")
    caption = f"Bars: the {BARS} largest probabilities, full width is 100 %; blue: the true class. Data: {data}."
    height, columns = (len(y), len(rows)) if turned else (len(rows), len(y))
    width = max(1.55 * columns + 0.5, 4.0)
    figure = _canvas(width, 2.75 * height + 0.35 * bool(title) + 0.5, title)
    axes = figure.subplots(2 * height, columns, squeeze=False, gridspec_kw={"height_ratios": [1.5, 1] * height})
    names = ["" if true is None else _named(classes, true) for true in y]
    for g, (name, x, logits) in enumerate(rows):
        for i, true in enumerate(y):
            r, c = (i, g) if turned else (g, i)
            colour = OWN if true is not None and not turned else MUTED
            label = name if turned and not i else "" if turned else names[i]
            draw(axes[2 * r, c], Panel(image=x[i], label=label, colour=colour))
            _bars(axes[2 * r + 1, c], logits[i], true, classes)
    for r, name in enumerate(names if turned else [name for name, _, _ in rows]):
        axes[2 * r, 0].set_ylabel(name, fontsize=9, color=OWN if turned else MUTED)
    figure.supxlabel(wrapped(caption, width), fontsize=7.5, color=MUTED)
    return _written(figure, path)


def _named(classes: Sequence[str] | None, label: int) -> str:
    return classes[label] if classes is not None and label < len(classes) else str(label)


def _bars(axes: "Axes", logits: Tensor, true: int | None, classes: Sequence[str] | None) -> None:
    """The five largest probabilities, the largest on top, each with its class written in the bar's row."""
    best = logits.detach().cpu().double().softmax(0).topk(min(BARS, len(logits)))
    for place, (p, label) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
        axes.barh(place, p, color=OWN if label == true else OTHER, height=0.82, alpha=0.55)
        text = f"{_short(_named(classes, label), 18)}  {100 * p:.0f} %"
        axes.text(0.02, place, text, va="center", fontsize=6.8, color="#1f2328")
    axes.set(xlim=(0, 1), ylim=(BARS - 0.5, -0.5), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#d0d7de", linewidth=0.6)
