"""Kernels and maps of a layer. Zeiler, Fergus 2013, figures 2 and 6, arXiv 1311.2901."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from advkit.core.door import check_count
from advkit.core.errors import check_given
from advkit.figures._examples import WRONG
from advkit.figures._panels import HEAT, SIGNED, Panel, Row, sheet
from advkit.insight import Filters
from advkit.insight._named_layers import check_units

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 12
"""Most panels of a row."""


def filters_sheet(
    found: Filters,
    *,
    together: bool = True,
    most: int = 96,
    silent: Tensor | None = None,
    title: str = "",
    data: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw the filters of a layer; kernels with 3 input maps are drawn in colour, others map by map.

    Args:
        found: result of `filters`.
        together: True draws all filters on one scale; False lets each fill the range.
        most: maximum number of kernels to draw.
        silent: (M,) bool, True for filters that no image of some data excites; they are marked.
        title: a line above the picture.
        data: name of the data on which `silent` was measured, for the caption.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: `most` is no integer of 1 or more, or a path that cannot be written as a picture.
    """
    check_given("found", found, Filters, "the result of filters(model)")
    most = check_count("most", most)
    kernels, colour = found.scaled(together=together), found.kernels.shape[1] == 3
    panels = []
    for i, kernel in enumerate(kernels):
        for j, part in enumerate([kernel] if colour else kernel[:, None]):
            label, tone = f"{i}" if colour or len(kernel) == 1 else f"{i}<{j}", {}
            marks = [word for word, mask in (("dead", found.dead), ("large", found.dominating)) if bool(mask[i])]
            marks += ["silent"] * bool(silent is not None and silent[i])
            tone = {"colour": WRONG} if marks else {}
            shown = {} if colour else {"cmap": SIGNED, "limits": (0.0, 1.0)}
            panels.append(Panel(image=part, label=" ".join([label, *marks]), **tone, **shown))  # type: ignore[arg-type]
    inputs = 1 if colour else kernels.shape[1]
    columns = WIDEST if inputs > WIDEST else WIDEST // inputs * inputs  # every row begins with a filter's first kernel
    rows = [Row(panels=panels[i : min(i + columns, most)]) for i in range(0, min(len(panels), most), columns)]
    peak = float(found.kernels.abs().amax())
    scale = f"one scale for all, -{peak:.3g} to {peak:.3g}" if together else "each filter on its own scale"
    tones = "grey is 0" if colour else "white is 0, purple positive, orange negative"
    count = f"{min(len(panels), most)} of {len(panels)} kernels" if len(panels) > most else f"{len(kernels)} filters"
    marks_text = f" RMS {float(found.rms.amin()):.3g} to {float(found.rms.amax()):.3g}; "
    marks_text += f"dead (below a tenth of the median): {_names(found.dead)}; "
    marks_text += f"dominating (above three times the median): {_names(found.dominating)}."
    if silent is not None:
        marks_text += f" Silent on {data}: {_names(silent)}."
    if inputs > 1:
        tones += "; a<b is what filter a does to map b"
    caption = f"Layer {found.layer}, {count}, {scale}; {tones}.{marks_text}"
    return sheet(rows, title=title, caption=caption, side=0.62, path=path)


def _names(mask: Tensor) -> str:
    return ", ".join(map(str, mask.nonzero()[:, 0].tolist())) or "none"


def maps_sheet(
    images: Tensor,
    maps: Tensor,
    *,
    layer: str,
    labels: Sequence[str],
    units: Sequence[int] = (),
    most: int = 11,
    title: str = "",
    data: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw each image and its maps in a layer, one image a row; all maps on one scale.

    Args:
        images: images (N, C, H, W) in [0, 1].
        maps: activations (N, M, h, w).
        layer: name of the layer, for the caption.
        labels: a name for each image.
        units: numbers of the maps to draw; default: by `most`.
        most: number of maps to draw, those with the largest activations over these images.
        title: a line above the picture.
        data: source of the images, for the caption.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: no such map, `most` is no integer of 1 or more, or a path that cannot be written as a picture.
    """
    maps = maps.detach().cpu().float()
    if maps.ndim == 2:
        maps = maps[:, :, None, None]
    units, most = check_units(units, maps.shape[1], layer, "units as maps"), check_count("most", most)
    strongest = maps.amax((0, 2, 3)).argsort(descending=True)[:most].sort().values
    order = torch.tensor(units) if units else strongest
    low, high = min(float(maps[:, order].amin()), 0.0), float(maps[:, order].amax())
    cmap, limits = (HEAT, (0.0, high)) if low >= 0 else (SIGNED, (-max(-low, high), max(-low, high)))
    rows = []
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        drawn = [
            Panel(image=maps[i, j][None], label=f"map {j}" if not i else "", cmap=cmap, limits=limits)
            for j in order.tolist()
        ]
        rows.append(Row(name=label, panels=[Panel(image=image), *drawn]))
    size = "x".join(map(str, maps.shape[2:]))
    tones = f"0 (dark) to {high:.3g} (yellow)" if low >= 0 else f"-{limits[1]:.3g} (orange) to {limits[1]:.3g} (purple)"
    which = "" if units or len(order) == maps.shape[1] else f", the {len(order)} strongest on these images"
    caption = f"Layer {layer}: {maps.shape[1]} maps of {size}{which}; one scale for all, {tones}. Data: {data}."
    return sheet(rows, title=title, caption=caption, side=0.8, path=path)
