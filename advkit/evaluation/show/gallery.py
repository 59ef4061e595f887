"""Examples of a run for its page: the nearest fooled images, from each class in turn."""

import base64
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.core.float64 import in_float64
from advkit.core.norms import per_row
from advkit.evaluation.measure.tally import Columns
from advkit.evaluation.runs.run_folder import Run

MOST_EXAMPLES = 20
"""Maximum number of examples of one attack on the page: two of each of ten classes; fewer if images are large."""

BYTES = 4_000_000
"""About the number of bytes of pixels that the page holds for one attack."""


class Found(NamedTuple):
    """A fooled image; ordered by distance, then by its position in the run."""

    distance: float
    batch: int
    row: int


class Nearest:
    """The nearest images of each class that one attack fooled, as many as may be shown."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_class: dict[int, list[Found]] = defaultdict(list)

    def add(self, batch: int, clean: Columns, row: Columns) -> None:
        """Add the images of one more batch."""
        fell = (~clean["clean_wrong"] & row["reached"]).nonzero().squeeze(1)
        found = zip(clean["y"][fell].tolist(), row["distance"][fell].tolist(), fell.tolist(), strict=True)
        for label, distance, place in found:
            self._by_class[label].append(Found(distance, batch, place))
        for label, kept in self._by_class.items():
            self._by_class[label] = sorted(kept)[: self._most]

    def chosen(self) -> list[Found]:
        """Return images from each class in turn, nearest first."""
        turns = [(turn, found[1:], found) for kept in self._by_class.values() for turn, found in enumerate(kept)]
        return [found for *_, found in sorted(turns)[: self._most]]


def image_shape(run: Run) -> tuple[int, ...] | None:
    """Return (C, H, W) of the images that the page can show; None if the run has none."""
    if not run.record["config"]["images"] or not run.record["config"]["attacks"]:
        return None
    shape = tuple(run.images(run.numbers()[0], None).shape[1:])
    return shape if len(shape) == 3 and shape[0] in (1, 3) else None


def undrawn(run: Run) -> str:
    """Return why the page shows no examples although the run keeps images; empty if it shows them."""
    if not run.record["config"]["images"] or not run.record["config"]["attacks"] or image_shape(run):
        return ""
    shape = tuple(run.images(run.numbers()[0], None).shape[1:])
    return f"The page draws images of one or three channels. These have the shape {shape}; the batches hold them."


def most_examples(shape: tuple[int, ...]) -> int:
    """Return the number of examples of an attack that the page shows."""
    return max(6, min(MOST_EXAMPLES, BYTES // (3 * math.prod(shape))))


def examples(run: Run, nearest: Sequence[Nearest], norms: Sequence[str], names: list[str]) -> list[dict[str, Any]]:
    """Return the chosen examples of each attack, nearest first, with their descriptions.

    The clean image, the enlarged perturbation and the adversarial image are one strip, a data URI.
    """
    wanted: dict[int, list[tuple[int, Found]]] = defaultdict(list)
    for i, attack in enumerate(nearest):
        for found in attack.chosen():
            wanted[found.batch].append((i, found))
    made: list[dict[str, Any]] = []
    for number, here in wanted.items():
        made += _of_batch(run, number, here, norms, names)
    return sorted(made, key=lambda example: (example["attack"], example["distance"], example["id"]))


def _of_batch(
    run: Run, number: int, wanted: list[tuple[int, Found]], norms: Sequence[str], names: list[str]
) -> Iterator[dict[str, Any]]:
    clean, *rows = run.columns(number)
    x, bounds = run.images(number, None), run.record["config"]["bounds"]
    for i in sorted({i for i, _ in wanted}):
        places = [found.row for attack, found in wanted if attack == i]
        before, after = (_unit(images[places], bounds) for images in (x, run.images(number, i)))
        delta = after - before
        peak = delta.flatten(1).abs().amax(1)
        scale = torch.where(peak > 0, 0.5 / peak, 0.0)
        strips = _pixels(torch.cat([before, delta * per_row(scale, delta) + 0.5, after], 3))  # (M, H, 3 W, C)
        captions = _captions(clean, rows[i], places, names)
        for caption, factor, strip in zip(captions, scale.tolist(), strips, strict=True):
            yield {"attack": i, "norm": norms[i], **caption, "scale": factor, "strip": _uri(strip)}


def _captions(clean: Columns, row: Columns, places: list[int], names: list[str]) -> Iterator[dict[str, Any]]:
    """The captions below the images of each example."""
    head = zip(*(clean[name][places].tolist() for name in ("sample_ids", "y", "clean_confidence")), strict=True)
    tail = zip(*(row[name][places].tolist() for name in ("prediction", "confidence", "distance")), strict=True)
    for (number, label, clean_confidence), (prediction, confidence, distance) in zip(head, tail, strict=True):
        yield {
            "id": number,
            "label": name_of(names, label),
            "prediction": name_of(names, prediction),
            "clean_confidence": clean_confidence,
            "confidence": confidence,
            "distance": distance,
        }


def _unit(images: Tensor, bounds: Sequence[float]) -> Tensor:
    """Pixels from 0 to 1, float64."""
    low, high = bounds
    return (in_float64(images) - low) / (high - low)


def _pixels(images: Tensor) -> Any:
    """(M, H, W, C) bytes as numpy has them, of images (M, C, H, W) in [0, 1]."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _uri(pixels: Any) -> str:
    """An image (H, W, C) as a PNG in a data URI."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def name_of(names: list[str], k: int) -> str:
    """Return the name of a class, or its number; a dash for no class."""
    return "-" if k < 0 else names[k] if k < len(names) else str(k)
