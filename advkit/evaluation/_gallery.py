"""Examples of a run for its page: images that fell, of each class in turn the nearest."""

import base64
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.evaluation._tally import Columns
from advkit.evaluation.run import Run

MOST_EXAMPLES = 24
"""Examples of one attack on the page, at the most; fewer where the images are large."""

BYTES = 4_000_000
"""About so many bytes of pixels the page holds for one attack."""


class Found(NamedTuple):
    """An image that fell: ordered by distance, then by its place in the run."""

    distance: float
    batch: int
    row: int


class Nearest:
    """Of each class the nearest images that one attack fooled, as many as may be shown."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_class: dict[int, list[Found]] = defaultdict(list)

    def add(self, batch: int, clean: Columns, row: Columns) -> None:
        """Look at one more batch."""
        fell = (~clean["clean_wrong"] & row["reached"]).nonzero().squeeze(1)
        found = zip(clean["y"][fell].tolist(), row["distance"][fell].tolist(), fell.tolist(), strict=True)
        for label, distance, place in found:
            self._by_class[label].append(Found(distance, batch, place))
        for label, kept in self._by_class.items():
            self._by_class[label] = sorted(kept)[: self._most]

    def chosen(self) -> list[Found]:
        """Class by class in turn, nearest first."""
        turns = [(turn, found[1:], found) for kept in self._by_class.values() for turn, found in enumerate(kept)]
        return [found for *_, found in sorted(turns)[: self._most]]


def most_examples(run: Run) -> int:
    """How many examples of an attack the page of this run shows; 0 where it has no images that can be shown."""
    if not run.record["config"]["images"] or not run.record["config"]["attacks"]:
        return 0
    size = run.images(run.numbers()[0], None).shape
    if len(size) != 4 or size[1] not in (1, 3):
        return 0
    return max(6, min(MOST_EXAMPLES, BYTES // (3 * math.prod(size[1:]))))


def examples(run: Run, nearest: Sequence[Nearest], norms: Sequence[str], names: list[str]) -> list[dict[str, Any]]:
    """The chosen examples of each attack, nearest first: images as data URIs, with what they are."""
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
) -> Iterable[dict[str, Any]]:
    clean, *rows = run.columns(number)
    x = run.images(number, None)
    bounds = run.record["config"]["bounds"]
    for i in sorted({i for i, _ in wanted}):
        x_adv = run.images(number, i)
        for j in (found.row for attack, found in wanted if attack == i):
            caption = _caption(clean, rows[i], j, names)
            yield {"attack": i, "norm": norms[i], **caption, **_pictures(x[j], x_adv[j], bounds)}


def _caption(clean: Columns, row: Columns, j: int, names: list[str]) -> dict[str, Any]:
    """What stands below the images of one example."""
    return {
        "id": int(clean["sample_ids"][j]),
        "label": name_of(names, int(clean["y"][j])),
        "prediction": name_of(names, int(row["prediction"][j])),
        "clean_confidence": clean["clean_confidence"][j].item(),
        "confidence": row["confidence"][j].item(),
        "distance": row["distance"][j].item(),
    }


def _pictures(x: Tensor, x_adv: Tensor, bounds: list[float]) -> dict[str, Any]:
    """Clean image, enlarged perturbation, adversarial image."""
    low, high = bounds
    before, after = ((image.double() - low) / (high - low) for image in (x, x_adv))
    peak = (after - before).abs().max().item()
    scale = 0.5 / peak if peak else 0.0
    return {"scale": scale, "x": _uri(before), "delta": _uri((after - before) * scale + 0.5), "x_adv": _uri(after)}


def _uri(image: Tensor) -> str:
    """An image (C, H, W) in [0, 1] as a PNG in a data URI."""
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def name_of(names: list[str], k: int) -> str:
    """The name of a class, or its number."""
    return names[k] if k < len(names) else str(k)
