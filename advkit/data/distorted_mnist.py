"""`distorted_mnist`: turned, moved, warped or cluttered digits. Jaderberg et al. 2015, appendix A.4, arXiv 1506.02025.

Points are x and y in pixels from the centre of an image. A warp gives the point of the digit for each pixel of the
canvas.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError, unknown
from advkit.data._dataset import DATASETS, Dataset, MemoryDataset, check_split
from advkit.data.mnist5k import DIGITS, mnist5k
from advkit.data.published import mnist

SOURCES = {"mnist5k": mnist5k, "mnist": mnist}
COPIES = {"train": 10, "test": 1}
FRAME = 28  # MNIST's own frame: what is scaled, placed and stretched, whatever padding lies around it
PATCH, PATCHES = 6, 6  # side and number of the distractors
CANDIDATES = 16  # of which the first convex one becomes the corners of "P"; one in thirty is not convex
BLOCK = 500  # images made at once, for the sake of memory


def _rotated(draws: Draws, p: Tensor, strength: float) -> Tensor:
    """R: turned about the centre by -90 to 90 degrees."""
    return _turn(p, strength * _between(draws, 0, -torch.pi / 2, torch.pi / 2))


def _moved(draws: Draws, p: Tensor, strength: float) -> Tensor:
    """RTS: turned by -45 to 45 degrees, scaled by .7 to 1.2, and the scaled frame put anywhere on the canvas."""
    scale = _scale(draws, 1, 0.7, 1.2, strength)
    place = strength * (2 * draws.uniform(2, (2,)) - 1) * (p.shape[0] - FRAME * scale)[:, None] / 2  # (N, 2)
    angle = strength * _between(draws, 0, -torch.pi / 4, torch.pi / 4)
    return _turn(p - place[:, None, None], angle) / scale[:, None, None, None]


def _stretched(draws: Draws, p: Tensor, strength: float) -> Tensor:
    """P: scaled by .75 to 1, then each corner of the frame moved by N(0, sd 5 pixels) along x and y."""
    signs = torch.tensor(
        [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=p.dtype, device="cpu"
    )  # around the frame
    frame = signs * (_scale(draws, 0, 0.75, 1.0, strength) * FRAME / 2)[:, None, None]  # (N, 4, 2)
    tried = frame[:, None] + strength * 5 * draws.normal(1, (CANDIDATES, 4, 2))  # (N, 16, 4, 2)
    first = _is_convex(tried).byte().argmax(1)
    corners = tried[torch.arange(len(tried), device="cpu"), first]
    x, y, w = (_unit_square(corners)[:, None, None] * F.pad(p, (0, 1), value=1.0)[..., None, :]).sum(-1).unbind(-1)
    return (torch.stack([x / w, y / w], -1) - 0.5) * FRAME


def _warped(draws: Draws, p: Tensor, strength: float) -> Tensor:
    """E: scaled by .75 to 1, then the 4 x 4 control points of a thin-plate spline moved by N(0, sd 1.5 pixels)."""
    lines = torch.linspace(-FRAME / 2, FRAME / 2, 4, dtype=p.dtype, device="cpu")
    moves = strength * 1.5 * draws.normal(1, (16, 2))  # (N, 16, 2)
    for weight, move in zip(_spline(torch.cartesian_prod(lines, lines), p), moves.unbind(1), strict=True):
        p = p + weight[..., None] * move[:, None, None]
    return p / _scale(draws, 0, 0.75, 1.0, strength)[:, None, None, None]


class Variant(NamedTuple):
    """One kind of distortion: the side of the canvas and the warp (None: cluttered)."""

    side: int
    warp: Callable[[Draws, Tensor, float], Tensor] | None


VARIANTS = {
    "R": Variant(32, _rotated),
    "RTS": Variant(42, _moved),
    "P": Variant(32, _stretched),
    "E": Variant(32, _warped),
    "cluttered": Variant(60, None),
}


@DATASETS.register("distorted_mnist")
class DistortedMNIST(Dataset):
    """Distorted digits (1, S, S), computed when they are read and rounded to 255ths as if they had been stored.

    An image depends only on the variant, `seed`, the split and its number. Row i shows digit i mod D of the source's
    D digits, so the first D rows hold each digit once, and more copies only add rows. Names: `distorted_mnist:R`, or
    `distorted_mnist(variant=R, source=mnist)`.

    Args:
        variant: "R", rotation by +-90 degrees (S = 32); "RTS", rotation by +-45, scale .7 to 1.2, any place on the
            canvas (42); "P", projective (32); "E", elastic (32); "cluttered", the digit anywhere among patches of 6x6
            from others (60). Ranges and numbers are those of public accounts of the paper; the sizes of R, P and E are
            ours.
        source: data set of the digits, "mnist5k" (the embedded ones) or "mnist".
        strength: share of each range that the distortions take, from 0 (upright in the middle) to 1; for curricula.
            "cluttered" has no other than 1.
        copies: number of distortions of each digit; default: 10 in the training split, 1 in the test split.
        patches: number of patches of "cluttered"; default: 6. At 0 the digit is alone. Other variants have none.
        side: side of the canvas of "cluttered" in pixels, 28 or more; default: 60. Other variants have one size.
        seed: seed of the distortions; the splits draw different ones.
        split, root, download: options of the source, see `load_data`.

    Raises:
        InputError: there is no such variant, source or split, copies is below 1, a strength outside [0, 1] or that the
            variant does not have, a number of patches or a side that it cannot have, or the source is missing.
    """

    def __init__(
        self,
        *,
        split: str = "test",
        root: str | os.PathLike[str] | None = None,
        download: bool = False,
        variant: str = "RTS",
        source: str = "mnist5k",
        strength: float = 1.0,
        copies: int | None = None,
        patches: int | None = None,
        side: int | None = None,
        seed: int = 0,
    ) -> None:
        check_split("distorted_mnist", split)
        if variant not in VARIANTS:
            raise unknown("variant of distorted_mnist", variant, VARIANTS)
        if source not in SOURCES:
            raise unknown("source of distorted_mnist", source, SOURCES)
        copies = COPIES[split] if copies is None else copies
        if copies < 1:
            raise InputError(f"expected copies of 1 or more, got {copies}")
        check_strength(strength)
        if strength != 1 and VARIANTS[variant].warp is None:
            raise InputError(f"expected a strength of 1 for the variant {variant!r}, got {strength}")
        check_canvas(variant, patches=patches, side=side)
        self.patches = PATCHES if patches is None else patches
        self.name, self.split, self.classes = _name(variant, source, strength, patches, side, seed), split, DIGITS
        x, y = SOURCES[source](split=split, root=root, download=download).tensors()
        self._digits = (x[:, 0] * 255).round().byte()  # (D, 32, 32)
        self.labels = y.repeat(copies)
        self.strength = float(strength)
        self.seed, (own, self._warp) = 2 * seed + (split == "train"), VARIANTS[variant]
        self.input_shape = (1, side or own, side or own)

    def boxes(self, rows: Tensor | None = None) -> Tensor:
        """Return the box of MNIST's 28x28 frame on the canvas for cluttered digits.

        Args:
            rows: numbers of images (N,); default: all.

        Returns:
            (N, 4) float32: top, left, bottom, right in pixels, bottom and right excluded.

        Raises:
            InputError: the variant is not "cluttered".
        """
        if self._warp is not None:
            raise InputError(f"expected the variant 'cluttered', whose digits are upright in a frame, got {self.name}")
        rows = torch.arange(len(self), device="cpu") if rows is None else rows
        corner = _places(Draws(self.seed, rows), 0, self.input_shape[1] - FRAME).float()
        return torch.cat([corner, corner + FRAME], 1)

    def held(self) -> MemoryDataset:
        """Return the same images, made once and kept in memory as bytes, for those who read them often."""
        images = torch.cat([(x * 255).round().byte() for x, _ in self.batches(BLOCK)])
        return MemoryDataset(self.name, self.split, self.classes, images, self.labels)

    def _images(self, rows: Tensor) -> Tensor:
        images = torch.empty(len(rows), *self.input_shape, device="cpu")
        for start in range(0, len(rows), BLOCK):
            made = self._block(rows[start : start + BLOCK]).clamp(0, 1)
            images[start : start + BLOCK, 0] = made.mul(255).round().float().div(255)
        return images

    def _block(self, rows: Tensor) -> Tensor:
        """The images (N, S, S) float64 in [0, 1], but for float noise."""
        draws, side = Draws(self.seed, rows), self.input_shape[1]
        digits = self._digits[rows % len(self._digits)].double() / 255
        if self._warp is not None:
            return _sample(digits, self._warp(draws, _pixels(side), self.strength))
        return _clutter(digits, self._digits, side, draws, self.patches)


def check_strength(strength: float) -> None:
    """Refuse a strength of the distortions that is no share.

    Raises:
        InputError: it is not a number in [0, 1].
    """
    if not isinstance(strength, int | float) or isinstance(strength, bool) or not 0 <= strength <= 1:
        raise InputError(f"expected strength as a share in [0, 1], got {strength!r}")


def check_canvas(variant: str, *, patches: int | None, side: int | None) -> None:
    """Refuse numbers that a variant does not have, and those that are no number of patches or no side of a canvas.

    Raises:
        InputError: the variant is not "cluttered", or a number is not a whole one from its least value up.
    """
    for name, value, least in (("patches", patches, 0), ("side", side, FRAME)):
        if value is None:
            continue
        if VARIANTS[variant].warp is not None:
            raise InputError(f"expected no {name} for the variant {variant!r}: 'cluttered' alone takes {name}")
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"expected {name} as a whole number of {least} or more, got {value!r}")


def _name(variant: str, source: str, strength: float, patches: int | None, side: int | None, seed: int) -> str:
    """What `load_data` takes for these options."""
    given = {
        "variant": (variant, "RTS"), "source": (source, "mnist5k"), "strength": (strength, 1),
        "patches": (patches, None), "side": (side, None), "seed": (seed, 0),
    }  # fmt: skip
    changed = {key: value for key, (value, default) in given.items() if value != default}
    if set(changed) <= {"variant"}:
        return f"distorted_mnist:{variant}" if changed else "distorted_mnist"
    return f"distorted_mnist({', '.join(f'{key}={value}' for key, value in changed.items())})"


def _between(draws: Draws, step: int, low: float, high: float) -> Tensor:
    """A uniform number for each image: (N,)."""
    return low + (high - low) * draws.uniform(step, ())


def _scale(draws: Draws, step: int, low: float, high: float, strength: float) -> Tensor:
    """A uniform scale for each image, brought towards 1 where the strength is less: (N,)."""
    return strength * _between(draws, step, low, high) + (1 - strength)


def _pixels(side: int) -> Tensor:
    """The centres of a canvas's pixels: (side, side, 2) float64."""
    places = torch.arange(side, dtype=torch.float64, device="cpu") - (side - 1) / 2
    return torch.stack(torch.meshgrid(places, places, indexing="xy"), -1)


def _sample(digits: Tensor, points: Tensor) -> Tensor:
    """Digits (N, h, w) at points (N, S, S, 2), bilinear, 0 outside: (N, S, S)."""
    size = torch.tensor(digits.shape[:0:-1], dtype=points.dtype, device="cpu")  # w, h
    return F.grid_sample(digits[:, None], points * 2 / size, padding_mode="zeros", align_corners=False)[:, 0]


def _turn(p: Tensor, angle: Tensor) -> Tensor:
    """Points (..., H, W, 2) turned by angles (N,), in radians: (N, H, W, 2)."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    x, y = p.unbind(-1)
    return torch.stack([x * cos - y * sin, x * sin + y * cos], -1)


def _is_convex(corners: Tensor) -> Tensor:
    """Whether quadrilaterals (..., 4, 2) are strictly convex and not turned over: (...)."""
    edge = corners.roll(-1, -2) - corners
    following = edge.roll(-1, -2)
    return (edge[..., 0] * following[..., 1] - edge[..., 1] * following[..., 0] > 0).all(-1)


def _unit_square(corners: Tensor) -> Tensor:
    """The projective maps (N, 3, 3) of quadrilaterals (N, 4, 2) to the unit square, corner by corner.

    The adjugate of the map from the square (Heckbert: Fundamentals of texture mapping and image warping, 1989, sec. 2).
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (corner.unbind(-1) for corner in corners.unbind(-2))
    sum_x, sum_y = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    det = (x1 - x2) * (y3 - y2) - (x3 - x2) * (y1 - y2)
    g = (sum_x * (y3 - y2) - (x3 - x2) * sum_y) / det
    h = ((x1 - x2) * sum_y - sum_x * (y1 - y2)) / det
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    rows = [
        [e - f * h, c * h - b, b * f - c * e],
        [f * g - d, a - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _spline(control: Tensor, p: Tensor) -> Tensor:
    """How much each of K control points (K, 2) carries the points p (H, W, 2) along: (K, H, W); their sum is 1.

    [U P; P^T 0] has to be solved, with U = r^2 log r^2 between the control points and P = (1, x, y).
    """
    count, points = len(control), p.flatten(0, 1)
    P = F.pad(control, (1, 0), value=1.0)  # (K, 3)
    L = torch.cat([torch.cat([_kernel(control, control), P], 1), F.pad(P.T, (0, 3))])
    basis = torch.cat([_kernel(points, control), F.pad(points, (1, 0), value=1.0)], 1)  # (H W, K + 3)
    weights: Tensor = torch.linalg.solve(L, basis.T)[:count]  # L is symmetric
    return weights.reshape(count, *p.shape[:2])


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    squared = (a[:, None] - b).square().sum(-1)
    return torch.xlogy(squared, squared)


def _clutter(digits: Tensor, pool: Tensor, side: int, draws: Draws, patches: int) -> Tensor:
    """Digits (N, h, w) put anywhere on a black canvas, and over it patches from anywhere in any of `pool` (D, h, w)."""
    pad = (digits.shape[1] - FRAME) // 2
    canvas = _window(digits, pad - _places(draws, 0, side - FRAME), side)
    for patch in range(1, patches + 1):
        which = (draws.uniform(patch, ()) * len(pool)).long()
        cut = _window(pool[which].double() / 255, pad + _places(draws, patch, FRAME - PATCH, stream=1), PATCH)
        canvas = canvas.maximum(_window(cut, -_places(draws, patch, side - PATCH, stream=2), side))
    return canvas


def _places(draws: Draws, step: int, largest: int, stream: int = 0) -> Tensor:
    """Whole rows and columns from 0 to `largest`, each as likely: (N, 2)."""
    return (draws.uniform(step, (2,), stream) * (largest + 1)).long()


def _window(images: Tensor, corner: Tensor, side: int) -> Tensor:
    """What is seen of images (N, h, w) from row and column `corner` (N, 2) on, 0 outside: (N, side, side)."""
    height, width = images.shape[1:]
    rows, columns = (start[:, None] + torch.arange(side, device="cpu") for start in corner.unbind(1))  # (N, side)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    rows, columns = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]
    return images[torch.arange(len(images), device="cpu")[:, None, None], rows, columns] * inside
