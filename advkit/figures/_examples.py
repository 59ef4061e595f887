"""The picture of an attack: clean images, perturbations, adversarial images (as in figure 1 of arXiv 1412.6572)."""

import io
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from advkit.core.door import check_bounds, check_images
from advkit.core.errors import InputError
from advkit.core.files import user_path, writing
from advkit.core.words import either, harmless

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG, MUTED = "#1a7f37", "#cf222e", "#57606a"
"""Colours of a right label, of a wrong one, and of remarks."""


def examples(
    x: Tensor,
    x_adv: Tensor,
    y: Tensor,
    *,
    logits_adv: Tensor,
    logits: Tensor | None = None,
    classes: Sequence[str] | None = None,
    sizes: Sequence[str] | None = None,
    bounds: tuple[float, float] = (0, 1),
    title: str = "",
    path: str | os.PathLike[str] | None = None,
) -> "Figure":
    """Draw each image above its perturbation and its adversarial image, with predicted class and confidence.

    The perturbation is shown around grey (brighter: added, darker: taken away), enlarged until its largest entry
    spans the range; the factor is written above it. Pixels are drawn as they are, without smoothing.

    Args:
        x, x_adv: clean and adversarial images (N, C, H, W) within `bounds`, C 1 (grey), 2 (drawn orange
            and blue) or 3 (RGB), N at least 1.
        y: labels (N,).
        logits_adv: the model's outputs on the adversarial images (N, K).
        logits: the model's outputs on the clean images; without them only the label is written above these.
        classes: name of each class; default: its number.
        sizes: N words on the sizes of the perturbations, such as "l2 1.23", written before the factors.
        bounds: the range of the pixels.
        title: a line above the picture.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Returns:
        The matplotlib figure; it has no window and need not be closed.

    Raises:
        InputError: shapes that do not fit, pixels out of bounds, or a path that cannot be written as an image.
    """
    bounds = check_bounds(bounds)
    _check(x, x_adv, y, logits, logits_adv, bounds)
    if sizes is not None and len(sizes) != len(x):
        raise InputError(f"expected sizes with one word for each of {len(x)} images, got {len(sizes)}")
    x, x_adv = (_unit(images, bounds) for images in (x, x_adv))
    figure = _sheet(len(x), title)
    axes = figure.subplots(3, len(x), squeeze=False)
    for column, (before, after) in enumerate(zip(x, x_adv, strict=True)):
        delta, scale = _shown(after - before)
        label = int(y[column])
        above = (_name(label, classes), MUTED) if logits is None else _verdict(logits[column], label, classes)
        _panel(axes[0, column], before, *above)
        size = f"{_short(sizes[column])}, " if sizes is not None and scale else ""
        _panel(axes[1, column], delta, f"{size}x {_factor(scale)}" if scale else "unchanged", MUTED)
        _panel(axes[2, column], after, *_verdict(logits_adv[column], label, classes))
    for row, name in enumerate(("clean", "perturbation\n(grey: none)", "adversarial")):
        axes[row, 0].set_ylabel(name, fontsize=10, color=MUTED)
    return _written(figure, path)


def _check(
    x: Tensor, x_adv: Tensor, y: Tensor, logits: Tensor | None, logits_adv: Tensor, bounds: tuple[float, float]
) -> None:
    for images in (x, x_adv):
        check_images(images, bounds)
    if x.shape != x_adv.shape or not drawable(x):
        shapes = f"{tuple(x.shape)} and {tuple(x_adv.shape)}"
        raise InputError(f"expected x and x_adv of one shape (N, C, H, W) with N >= 1 and C 1 to 3, got {shapes}")
    for name, value, ndim in (("y", y, 1), ("logits", logits, 2), ("logits_adv", logits_adv, 2)):
        if value is not None and (value.ndim != ndim or len(value) != len(x)):
            raise InputError(f"expected {name} with one row for each of {len(x)} images, got {tuple(value.shape)}")


def drawable(x: Tensor) -> bool:
    """Whether a figure can show the images: (N, C, H, W), at least one, with one to three channels."""
    return x.ndim == 4 and 1 <= x.shape[1] <= 3 and len(x) > 0


def _unit(images: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Pixels in bounds -> float64 in [0, 1], on the CPU."""
    low, high = bounds
    return (images.detach().cpu().double() - low) / (high - low)


def _shown(delta: Tensor) -> tuple[Tensor, float]:
    """A perturbation (C, H, W) around grey .5, and the factor by which it was enlarged; 0 where nothing was added."""
    peak = delta.abs().max().item()
    scale = 0.5 / peak if peak > 0 else 0.0
    return delta * scale + 0.5, scale


def _factor(scale: float) -> str:
    """How much a perturbation was enlarged: 71.4 -> "71", 2.54 -> "2.5", 12345678 -> "1.2e+07"."""
    return f"{scale:.0f}" if 10 <= scale < 1e5 else f"{scale:.2g}"


def _verdict(logits: Tensor, label: int, classes: Sequence[str] | None) -> tuple[str, str]:
    """The class given with its confidence, and the colour that says whether it is right."""
    confidence, best = logits.detach().double().softmax(0).max(0)
    given = int(best)
    return f"{_name(given, classes)}  {100 * confidence.item():.1f} %", RIGHT if given == label else WRONG


def _name(label: int, classes: Sequence[str] | None) -> str:
    """The name of a class, cut to what fits above an image, or its number."""
    return _short(classes[label]) if classes is not None and label < len(classes) else str(label)


def _short(name: str, length: int = 16) -> str:
    return _said(name if len(name) <= length else name[: length - 1] + "\N{HORIZONTAL ELLIPSIS}")


def _said(text: str) -> str:
    """Foreign text as matplotlib draws it letter by letter: no formula between dollars, no control characters."""
    return harmless(text).replace("$", r"\$")


def _sheet(columns: int, title: str) -> "Figure":
    """An empty figure for three rows of images."""
    return _canvas(max(1.7 * columns + 0.4, 4.0), 6.2 if title else 5.9, title)


@cache
def _shown_figure() -> "type[Figure]":
    """A matplotlib figure that a notebook shows, although pyplot does not know of it."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=100)
            return file.getvalue()

    return ShownFigure


def _canvas(width: float, height: float, title: str) -> "Figure":
    """An empty figure, in inches, that pyplot does not know of: no window, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _shown_figure()(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(_said(title), fontsize=10, wrap=True)
    return figure


CHANNELS = ((1.0, 0.6, 0.15), (0.0, 0.4, 0.85))
"""Colours of the channels of an image that has two: orange and blue, which add up to white."""


def visible(image: Tensor) -> Tensor:
    """An image (C, H, W) as one that can be drawn, C 1 or 3: of two channels the first is orange, the second blue."""
    if image.shape[0] != 2:
        return image
    return torch.einsum("chw,cr->rhw", image, torch.tensor(CHANNELS, dtype=image.dtype, device=image.device))


def _panel(axes: "Axes", image: Tensor, label: str, colour: str) -> None:
    """One image (C, H, W) in [0, 1], with a line above it."""
    pixels = visible(image).clamp(0, 1).permute(1, 2, 0).to(torch.float32).numpy()  # (H, W, C)
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if pixels.shape[2] == 1 else {}
    axes.imshow(pixels[..., 0] if grey else pixels, interpolation="nearest", **grey)
    axes.set_title(label, fontsize=9, color=colour, pad=3)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#d0d7de", linewidth=0.6)


def _written(figure: "Figure", path: str | os.PathLike[str] | None) -> "Figure":
    """The figure, written to `path` if there is one."""
    if path is not None:
        check_ending(path)
        with writing(path):
            path = user_path(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
    return figure


ENDINGS = (".png", ".pdf", ".svg", ".jpg", ".jpeg")
"""What a picture can be written as."""


def check_ending(path: str | os.PathLike[str]) -> None:
    """Raise InputError unless the file has a picture's ending."""
    name = Path(path).name
    if Path(path).suffix.lower() not in ENDINGS:
        raise InputError(f"cannot write a picture to {name!r}: end the name with {either(ENDINGS)}")
