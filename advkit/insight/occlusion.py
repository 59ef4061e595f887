"""Occlusion: what a grey square hides. Zeiler, Fergus 2013, sec. 4.2, arXiv 1311.2901."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advkit.core.classify import looking
from advkit.core.door import check_batch, check_classes, check_count, check_number
from advkit.core.errors import InputError, warn
from advkit.core.model_checks import check_labels, check_logits, explained
from advkit.core.outputs import answer_of
from advkit.insight._named_layers import recording

GREY = 0.5


@dataclass(frozen=True)
class Occlusion:
    """The answers of a network while a square moves over the images; R rows and K columns of places.

    Attributes:
        probability: probability of the class in question (N, R, K).
        predicted: predicted class (N, R, K).
        clean: probability of the class in question on the whole image (N,).
        activation: sum over space of the map that is strongest on the whole image (N, R, K); None without a layer.
        unit: number of the map that is strongest on the whole image (N,); None without a layer.
        rows, columns: first rows (R,) and first columns (K,) of the squares in pixels.
        size: side of the square in pixels.
        image_size: height and width of the images.
    """

    probability: Tensor
    predicted: Tensor
    clean: Tensor
    activation: Tensor | None
    unit: Tensor | None
    rows: Tensor
    columns: Tensor
    size: int
    image_size: tuple[int, int]

    def centres(self) -> Tensor:
        """Row and column of the middle of the square that lowers the probability most: (N, 2), in pixels."""
        best = self.probability.flatten(1).argmin(1)
        corner = torch.stack([self.rows[best // len(self.columns)], self.columns[best % len(self.columns)]], 1)
        return corner.double() + (self.size - 1) / 2

    def heat(self) -> Tensor:
        """Return the mean probability over the squares that hide a pixel: (N, H, W); NaN where none does."""
        return spread(self.probability, self)


def spread(values: Tensor, places: Occlusion) -> Tensor:
    """Average values (N, R, K) at each pixel over the squares that hide it: (N, H, W); NaN where none does."""
    total = values.new_zeros(len(values), *places.image_size)
    count = torch.zeros_like(total)
    for i, row in enumerate(places.rows.tolist()):
        for j, column in enumerate(places.columns.tolist()):
            square = (..., slice(row, row + places.size), slice(column, column + places.size))
            total[square] += values[:, i, j, None, None]
            count[square] += 1
    return total / torch.where(count > 0, count, torch.nan)


def occlusion(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    size: int | None = None,
    stride: int | None = None,
    value: float = GREY,
    layer: str | None = None,
    batch_size: int = 64,
) -> Occlusion:
    """Move a square over each image, and record the probability of the class and the strongest map.

    Args:
        model: any classifier; it is left as it was.
        x: images (N, C, H, W) in [0, 1].
        y: classes (N,) whose probability is recorded; by default the model's classes of the whole images.
        size: side of the square in pixels; by default a quarter of the image's shorter side.
        stride: number of pixels between two places; by default a quarter of the square. The last place touches the
            border.
        value: colour of the square; .5 is grey. For light digits on black, 0 is the colour that removes.
        layer: name of a layer; the sum of its strongest map is recorded too.
        batch_size: number of images in a pass.

    Raises:
        InputError: a square that does not fit, a layer without maps, images that are no floating-point tensor
            (N, C, H, W), or labels that are no classes of the model.

    Warns:
        AdvkitWarning: grey is asked for, and the pixels lie outside [0, 1].
    """
    value = check_colour(x, value)
    height, width = x.shape[2:]
    most, inside = min(height, width), "; the square lies within the image"
    size = max(most // 4, 1) if size is None else check_count("size", size, most=most, advice=inside)
    stride = max(size // 4, 1) if stride is None else check_count("stride", stride)
    batch_size = check_count("batch_size", batch_size)
    rows, columns = _starts(height, size, stride), _starts(width, size, stride)
    places = [(r, c) for r in rows.tolist() for c in columns.tolist()]
    with looking(model, x.device), recording(model, [layer] if layer else []) as seen:
        with explained(model, x):
            logits, unit = answer_of(model(x)), None
        check_logits(logits, x)
        label = logits.argmax(1) if y is None else _labels(y, x, logits.shape[1])
        if layer:
            unit = _strength(seen.pop(layer, logits), layer).argmax(1)  # (N,)
        parts = [torch.zeros(3, 0, dtype=torch.float64, device=logits.device)]
        for i in range(len(x)):
            one = None if unit is None else int(unit[i])
            for start in range(0, len(places), batch_size):
                hidden = _hidden(x[i], places[start : start + batch_size], size, value)
                answer = answer_of(model(hidden))
                probability, given = answer.softmax(1)[:, label[i]], answer.argmax(1)
                strength = _strength(seen.pop(layer), layer)[:, one] if layer else probability
                parts.append(torch.stack([probability.double(), given.double(), strength.double()]))
    table = torch.cat(parts, 1).reshape(3, len(x), len(rows), len(columns))
    clean = logits.softmax(1).gather(1, label[:, None])[:, 0]
    strongest = table[2].to(x.dtype) if layer else None
    probability = table[0].to(x.dtype)
    return Occlusion(probability, table[1].long(), clean, strongest, unit, rows, columns, size, (height, width))


def check_colour(x: Tensor, value: float) -> float:
    """Check the images (N, C, H, W) of which something is hidden, and the colour; warn where grey is no grey.

    Args:
        x: images (N, C, H, W).
        value: colour of what hides.
    """
    check_batch(x, (4,))
    value = check_number("value", value)
    if value != GREY or not x.numel():
        return value
    low, high = torch.stack(torch.aminmax(x)).tolist()
    if not 0 <= low <= high <= 1:
        warn(f"{GREY} is grey for pixels in [0, 1], and these lie in [{low:.3g}, {high:.3g}]: give value=")
    return value


def _labels(y: Tensor, x: Tensor, classes: int) -> Tensor:
    """The classes (N,), checked."""
    labels = check_classes("labels", y, x)
    if len(labels):
        check_labels((int(labels.min()), int(labels.max())), classes)
    return labels


def _starts(length: int, size: int, stride: int) -> Tensor:
    """Return the first pixels of the squares; the last square ends at the border."""
    last = length - size
    starts = list(range(0, last + 1, stride))
    return torch.tensor(starts if starts[-1] == last else [*starts, last])


def _hidden(image: Tensor, places: Sequence[tuple[int, int]], size: int, value: float) -> Tensor:
    """Return copies of an image (C, H, W), each with the square at one place."""
    copies = image.expand(len(places), *image.shape).clone()
    for copy, (row, column) in zip(copies, places, strict=True):
        copy[:, row : row + size, column : column + size] = value
    return copies


def _strength(output: Tensor, layer: str) -> Tensor:
    """Return the sum of each map over space (N, maps).

    Raises:
        InputError: the layer has no maps.
    """
    if output.ndim != 4:
        raise InputError(f"expected a layer with maps (N, maps, h, w), got {layer!r} with {tuple(output.shape)}")
    return output.sum((2, 3))
