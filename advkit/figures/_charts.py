"""Charts: error against eps for several models, and the matrix of transfer."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from advkit.figures._examples import MUTED, _canvas, _written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#8250df", "#9a6700", "#bf3989", "#1b7c83", "#57606a")
"""One a curve, in turn."""

Staircase = tuple[str, float, Sequence[float], Sequence[float], float | None]
"""Name, error at eps 0, the radii at which it rises, the error from each on, the median distance if there is one."""


def error_curves(
    curves: Sequence[Staircase], *, norm: str = "", title: str = "", path: str | os.PathLike[str] | None = None
) -> "Figure":
    """Draw errors against eps as staircases, each with its median distance in the legend.

    Args:
        curves: at least one.
        norm: of the distances, for the axis.
        title: a line above the picture.
        path: where to write it; default: nowhere.

    Raises:
        InputError: a path that cannot be written as an image.
    """
    figure = _canvas(7.0, 4.4, title)
    axes = figure.subplots()
    most = max((eps for _, _, radii, _, _ in curves for eps in radii), default=1.0)
    for i, (name, clean, radii, errors, middle) in enumerate(curves):
        label = name if middle is None else f"{name} (median {middle:.3g})"
        x, y = [0.0, *radii, most], [clean, *errors, errors[-1] if errors else clean]
        axes.plot(x, [100 * e for e in y], drawstyle="steps-post", color=COLOURS[i % len(COLOURS)], label=label)
    axes.set(
        xlim=(0, most), ylim=(0, 102), xlabel=f"eps ({norm})" if norm else "eps", ylabel="error in %, a lower bound"
    )
    axes.grid(color="#d0d7de", linewidth=0.6)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    _plain(axes)
    return _written(figure, path)


def transfer_table(
    names: Sequence[str],
    rates: Sequence[Sequence[float | None]],
    *,
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw a matrix of rates in [0, 1]: a row for each model that was attacked, a column for each that was shown.

    Args:
        names: of the M models.
        rates: (M, M); None where there is none.
        title: a line above the picture.
        path: where to write it; default: nowhere.

    Raises:
        InputError: a path that cannot be written as an image.
    """
    size = len(names)
    longest = max(map(len, names))
    figure = _canvas(2.2 + 0.9 * size + 0.05 * longest, 1.6 + 0.62 * size + 0.05 * longest, title)
    axes = figure.subplots()
    values = [[float("nan") if rate is None else rate for rate in row] for row in rates]
    axes.imshow(values, cmap="Reds", vmin=0, vmax=1, aspect="auto")
    for s, row in enumerate(rates):
        for t, rate in enumerate(row):
            text = "-" if rate is None else f"{100 * rate:.1f}"
            colour = "white" if rate is not None and rate > 0.55 else "#1f2328"
            axes.text(t, s, text, ha="center", va="center", color=colour, weight="bold" if s == t else "normal")
    axes.set_xticks(range(size), names, rotation=30, ha="right")
    axes.set_yticks(range(size), names)
    axes.set(xlabel="shown to", ylabel="made on")
    axes.tick_params(length=0)
    return _written(figure, path)


def _plain(axes: object) -> None:
    """No frame but the axes themselves."""
    for side, spine in axes.spines.items():  # type: ignore[attr-defined]
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
