"""Projections to the pixels, occlusion, directions and boxes.

Zeiler, Fergus 2013, figures 2 and 7 (arXiv 1311.2901); Szegedy et al. 2013, figures 1 to 4 (arXiv 1312.6199);
Jaderberg et al. 2015, appendix A.2 (arXiv 1506.02025).
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from advkit.core.door import check_number
from advkit.data import Dataset, as_dataset
from advkit.figures._panels import BOX, HEAT, TRUE, Panel, Row, beside, sheet, signed
from advkit.insight import Direction, Occlusion, Top
from advkit.insight.occlusion import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"deconv": "deconvolution", "guided": "guided gradient", "gradient": "gradient x\nactivation"}


def projection_sheet(
    rows: Sequence[tuple[str, Tensor, Mapping[str, Tensor]]],
    *,
    labels: Sequence[str],
    layer: str,
    unit: str,
    wide: bool = False,
    title: str = "",
    data: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw images and, below them, their projections by each method of `deconv`.

    Args:
        rows: groups such as clean and adversarial, each (name, images (N, C, H, W), projections by method).
        labels: a line above each column.
        layer, unit: names of layer and unit, for the caption.
        wide: True puts the groups next to each other, for slides; False below each other, for pages.
        title: a line above the picture.
        data: source of the images, for the caption.
        path: file to write, PNG, PDF or SVG by its ending; by default none.
    """
    lines = []
    for name, x, backs in rows:
        lines.append(Row(name=name, panels=[Panel(image=i, label=t) for i, t in zip(x, labels, strict=True)]))
        for method, back in backs.items():
            panels = [Panel(image=signed(one)[0]) for one in back.detach().cpu()]
            lines.append(Row(name=NAMES.get(method, method), panels=panels))
    caption = f"Layer {layer}, {unit}. Projections: grey is 0, each picture on its own scale. Data: {data}."
    return sheet(beside(lines, len(rows)) if wide else lines, title=title, caption=caption, side=1.1, path=path)


def top_sheet(
    tops: Sequence[Top],
    data: Dataset | Any,
    backs: Sequence[Tensor],
    *,
    method: str = "deconv",
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw the strongest activations of several units: the patches in the unit's field, above their projections.

    Args:
        tops: results of `top_activations`.
        data: the images among which they were found, in the forms that `top_activations` takes.
        backs: projections of the images of each unit (k, C, H, W); they are cut to the patches.
        method: method of the projections, for the caption.
        title: a line above the picture.
        path: file to write, PNG, PDF or SVG by its ending; by default none.
    """
    data, rows = as_dataset(data, "test"), []
    for top, back in zip(tops, backs, strict=True):
        patches = top.patches(data)
        labels = [f"{value:.3g}" for value in top.values.tolist()]
        rows.append(
            Row(name=f"unit {top.unit}", panels=[Panel(image=p, label=t) for p, t in zip(patches, labels, strict=True)])
        )
        cut = [b[:, t:e, s:r] for b, (t, s, e, r) in zip(back.cpu(), top.boxes, strict=True)]
        rows.append(Row(panels=[Panel(image=signed(one)[0]) for one in cut]))
    count, said = len(tops[0].values), NAMES.get(method, method).replace("\n", " ")
    caption = (
        f"Layer {tops[0].layer}: the {count} images of {data.name} {data.split} ({len(data):,} images) in which each "
        "unit is strongest, with the activation above. First rows: the pixels that the unit sees; second rows: "
        f"{said}, "
        "grey is 0, each picture on its own scale."
    )
    return sheet(rows, title=title, caption=caption, side=0.85, path=path)


def occlusion_sheet(
    x: Tensor,
    found: Occlusion,
    *,
    labels: Sequence[str],
    groups: Sequence[str] = ("image",),
    layer: str | None = None,
    value: float = 0.5,
    wide: bool = False,
    title: str = "",
    data: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw images, the class's probability for each position of the square, the predicted class, and a map's sum.

    Args:
        x: images (N, C, H, W) in [0, 1].
        found: result of `occlusion`.
        labels: a line above each image.
        groups: names of equal parts of x, such as clean and adversarial; each gets rows of its own.
        layer: name of the layer, for the caption.
        value: colour of the square, for the caption.
        wide: True puts the groups next to each other, for slides; False below each other, for pages.
        title: a line above the picture.
        data: source of the images, for the caption.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: the colour is no finite number, or a path that cannot be written as a picture.
    """
    value = check_number("value", value)
    centres = found.centres().tolist()
    half = found.size / 2
    squares = [((r - half + 0.5, c - half + 0.5, r + half + 0.5, c + half + 0.5), BOX) for r, c in centres]
    images = [Panel(image=i, label=t, boxes=[b]) for i, t, b in zip(x, labels, squares, strict=True)]
    least = found.probability.flatten(1).amin(1).tolist()
    heat = [
        Panel(image=h[None], label=f"least {100 * p:.1f} %", cmap=HEAT, limits=(0, 1))
        for h, p in zip(found.heat(), least, strict=True)
    ]
    kinds = [("probability", heat)]
    if found.activation is not None and found.unit is not None:
        pairs = zip(spread(found.activation, found), found.unit.tolist(), strict=True)
        kinds.append(("strongest\nmap", [Panel(image=s[None], label=f"map {u}", cmap=HEAT) for s, u in pairs]))
    each = len(x) // len(groups)
    rows = []
    for i, name in enumerate(groups):
        part = slice(i * each, (i + 1) * each)
        rows += [Row(name=said, panels=panels[part]) for said, panels in [(name, images), *kinds]]
    caption = (
        f"A square of {found.size} pixels and colour {value:g} moves over the image. "
        "Probability of the class given on the whole image, 0 dark "
        f"to 1 yellow, mean over the squares that hide a pixel; orange: the square that lowers it most. Data: {data}."
    )
    if layer is not None:
        caption += f" Strongest map of layer {layer}: its sum over space, each picture on its own scale."
    return sheet(beside(rows, len(groups)) if wide else rows, title=title, caption=caption, side=1.3, path=path)


def directions_sheet(
    found: Sequence[Direction],
    names: Sequence[str],
    data: Dataset | Any,
    *,
    layer: str,
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw the images that lie farthest along each direction, one direction a row.

    Args:
        found: results of `directions`.
        names: names of the directions.
        data: the images among which they were found, in the forms that `top_activations` takes.
        layer: name of the layer, for the caption.
        title: a line above the picture.
        path: file to write, PNG, PDF or SVG by its ending; by default none.
    """
    data, rows = as_dataset(data, "test"), []
    for direction, name in zip(found, names, strict=True):
        images, labels = data[direction.rows]
        words = [data.classes[label] for label in labels.tolist()]
        rows.append(Row(name=name, panels=[Panel(image=i, label=w) for i, w in zip(images, words, strict=True)]))
    caption = (
        f"Layer {layer}: images of {data.name} {data.split} with the largest <phi(x), v>, the largest first; v is a "
        "unit, or a random direction of length 1. Above each image: its class."
    )
    return sheet(rows, title=title, caption=caption, side=0.85, path=path)


def boxes_sheet(
    x: Tensor,
    crops: Tensor,
    found: Tensor,
    true: Tensor,
    overlaps: Tensor,
    *,
    title: str = "",
    data: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw images with the transformer's box and the true box, above the transformer's output.

    Args:
        x: images (N, C, H, W) in [0, 1].
        crops: outputs of the transformer (N, C, h, w).
        found, true: boxes (N, 4) that were found and true ones: top, left, bottom, right.
        overlaps: intersection over union of each pair (N,).
        title: a line above the picture.
        data: source of the images, for the caption.
        path: file to write, PNG, PDF or SVG by its ending; by default none.
    """
    pairs = [[(tuple(t), TRUE), (tuple(f), BOX)] for f, t in zip(found.tolist(), true.tolist(), strict=True)]
    labels = [f"overlap {o:.2f}" for o in overlaps.tolist()]
    images = [Panel(image=i, label=t, boxes=b) for i, t, b in zip(x, labels, pairs, strict=True)]
    rows = [Row(name="image", panels=images), Row(name="crop", panels=[Panel(image=c) for c in crops])]
    caption = (
        f"Orange: the box found; blue-green: the true frame of 28x28 pixels, which training never saw. Data: {data}."
    )
    return sheet(rows, title=title, caption=caption, side=1.2, path=path)
