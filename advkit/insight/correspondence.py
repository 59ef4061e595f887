"""Correspondence: whether a network relates the same part of different objects. Zeiler, Fergus 2013, sec. 4.3.

arXiv 1311.2901. For images i and one part of them, `epsilon_i = x_i^l - x~_i^l` is how layer l changes when the part is
hidden, and `Delta_l = sum_{i != j} H(sign(epsilon_i), sign(epsilon_j))`, H the Hamming distance. A part whose removal
changes the layer alike in all images has a smaller Delta than boxes at random places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advkit.core.classify import looking
from advkit.core.door import check_count, generator
from advkit.core.errors import InputError, check_given
from advkit.core.option_numbers import shown
from advkit.core.plain import integers_in
from advkit.insight._named_layers import run_to
from advkit.insight.occlusion import GREY, check_colour

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Correspondence:
    """How alike a layer changes when the same part is hidden in different images.

    A distance is the share of the layer's entries whose changes have different signs, in [0, 1].

    Attributes:
        layer: name of the layer.
        names: names of the parts.
        distances: distances between the N images, pair by pair, for each part (P, N (N - 1) / 2).
        random: distances for sets of boxes at random places (R, N (N - 1) / 2).
        random_boxes: boxes at random places (R, N, 4): top, left, bottom, right.
    """

    layer: str
    names: tuple[str, ...]
    distances: Tensor
    random: Tensor
    random_boxes: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean distance over the pairs, for each part (P,)."""
        return self.distances.mean(1)

    @property
    def random_mean(self) -> Tensor:
        """The mean distance over the pairs, for each set of random boxes (R,)."""
        return self.random.mean(1)

    @property
    def rank(self) -> Tensor:
        """Number of sets of random boxes whose mean distance is at most that of a part (P,); 0 of R is strongest."""
        return (self.random_mean[None] <= self.mean[:, None]).sum(1)


def correspondence(
    model: nn.Module,
    x: Tensor,
    parts: Mapping[str, Sequence[Box]],
    *,
    layer: str,
    value: float = GREY,
    random: int = 20,
    seed: int = 0,
) -> Correspondence:
    """Hide the same part in different images and compare how a layer changes, against boxes at random places.

    Args:
        model: any network; it is left as it was.
        x: images (N, C, H, W) in [0, 1], N at least 2.
        parts: boxes (top, left, bottom, right) of each part in pixels, one for each image, by the name of the part.
            Bottom and right are excluded.
        layer: name of the layer.
        value: colour of the boxes; .5 is grey. For light objects on black, 0 is the colour that removes.
        random: number of sets of random boxes. A set has one box in each image, of the size of one of the parts.
        seed: seed of the random places.

    Raises:
        InputError: fewer than two images, no part, not one box an image, a box outside the image, no such layer, or
            images that are no floating-point tensor (N, C, H, W).

    Warns:
        AdvkitWarning: grey is asked for, and the pixels lie outside [0, 1].
    """
    value = check_colour(x, value)
    random = check_count("random", random, least=0)
    size = (int(x.shape[2]), int(x.shape[3]))
    parts = check_parts(parts, len(x), size)
    placed = random_boxes(list(parts.values()), size, count=random, seed=seed)  # (R, N, 4)
    with looking(model, x.device):
        clean = run_to(model, x, layer)
        sets = [*parts.values(), *placed.tolist()]
        distances = [_distances((clean - run_to(model, hidden(x, boxes, value), layer)).sign()) for boxes in sets]
    table = torch.stack(distances).cpu()
    return Correspondence(layer, tuple(parts), table[: len(parts)], table[len(parts) :], placed)


def check_parts(parts: Any, count: int, size: tuple[int, int]) -> dict[str, list[Box]]:
    """Return the boxes as Python's numbers: every part has one in each of `count` images of this size, two or more.

    Args:
        parts: boxes of each part, by its name.
        count: number of images.
        size: height and width of the images.

    Raises:
        InputError: there are other parts, boxes or images.
    """
    check_given("parts", parts, Mapping, "a dictionary of boxes by the name of the part")
    if count < 2 or not parts:
        raise InputError(f"expected two images or more and one part or more, got {count} and {len(parts)}")
    return {name: _boxes(name, boxes, count, size) for name, boxes in parts.items()}


def _boxes(name: Any, boxes: Any, count: int, size: tuple[int, int]) -> list[Box]:
    """The boxes of one part as Python's numbers."""
    rows = boxes.tolist() if isinstance(boxes, Tensor | np.ndarray) and boxes.ndim == 2 else boxes
    if not isinstance(rows, list | tuple) or len(rows) != count:
        seen = len(rows) if isinstance(rows, list | tuple) else shown(boxes)
        raise InputError(f"expected a box of part {name!r} in each of {count} images, got {seen}")
    found, (height, width) = [], size
    for row in rows:
        box = integers_in(row)
        if box is None or len(box) != 4 or not (0 <= box[0] < box[2] <= height and 0 <= box[1] < box[3] <= width):
            raise InputError(
                f"expected boxes (top, left, bottom, right) within {height}x{width} pixels, got {shown(row)} of part "
                f"{name!r}"
            )
        found.append(box)
    return found


def random_boxes(parts: Sequence[Sequence[Box]], size: tuple[int, int], *, count: int, seed: int) -> Tensor:
    """Draw boxes (count, N, 4) of the parts' sizes at random places, all equally likely.

    Set r has in each image a box of the size of part `r mod P` there.

    Args:
        parts: boxes of P parts, one for each of N images.
        size: height and width of the images.
        count: number of sets.
        seed: seed of the places.
    """
    boxes = torch.tensor(parts)[torch.arange(count) % len(parts)]  # (count, N, 4)
    extent = boxes[..., 2:] - boxes[..., :2]
    free = torch.tensor(size) - extent + 1
    corner = (torch.rand(extent.shape, generator=generator(seed), dtype=torch.float64) * free).long()
    return torch.cat([corner, corner + extent], -1)


def hidden(x: Tensor, boxes: Sequence[Box], value: float) -> Tensor:
    """Return the images (N, C, H, W), each with a box in one colour.

    Args:
        x: images (N, C, H, W).
        boxes: one box for each image.
        value: colour of the boxes.
    """
    masked = x.clone()
    for image, (top, left, bottom, right) in zip(masked, boxes, strict=True):
        image[:, top:bottom, left:right] = value
    return masked


def _distances(signs: Tensor) -> Tensor:
    """Return the fraction of entries that differ, for each pair of N images: (N (N - 1) / 2,) float64."""
    signs = signs.flatten(1)
    first, second = torch.triu_indices(len(signs), len(signs), offset=1)
    return (signs[first] != signs[second]).double().mean(1)
