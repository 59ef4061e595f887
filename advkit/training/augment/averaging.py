"""Tests on several crops of an image, whose probabilities are averaged; the average is a network, too.

Ten crops: Krizhevsky, Sutskever, Hinton 2012, sec. 4.1. Several scales and 50 crops: Simonyan, Zisserman 2014, arXiv
1409.1556, sec. 3.2, 4.2 and 4.3. 144 crops: Szegedy et al. 2014, arXiv 1409.4842, sec. 7.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.goals import wide
from advkit.core.model_checks import ask, check_model
from advkit.core.option_numbers import shown
from advkit.core.plain import is_integer, plain
from advkit.training.augment._base import check_batch

CROPS = (1, 5, 10, 36, 50)
GRID = 5
"""Crops along each side of the grid of 50, which is VGG's."""


class CropAverage(nn.Module):
    """The logarithm of the mean of a network's probabilities over crops of an image, at one or more scales.

    It takes images (N, C, H, W) and returns (N, K), whose softmax is the mean of the softmaxes; so it can be evaluated
    and attacked like the network. It costs one pass for each crop and scale.

    Args:
        model: callable that takes images and returns logits.
        size: side of the crops; default: that of the network's card.
        crops: number of crops: 1, the centre; 5, the corners too; 10, the mirror images of these five too; 36, the
            corners, the centre and the whole of three squares, all of them mirrored too (GoogLeNet's; the three squares
            of a square image are one); 50, a grid of 5 x 5 crops from corner to corner, all of them mirrored too
            (VGG's).
        scales: lengths Q to which the shorter side is resized first (bilinear, antialiased); None: no resizing.

    Raises:
        InputError: the number of crops is another, there is no size, or scales are smaller than it; when called: images
            are smaller.
    """

    def __init__(
        self, model: nn.Module, *, size: int | None = None, crops: int = 10, scales: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        check_model(model)
        self.model, self.size = model, check_count("size", _own_size(model) if size is None else size)
        self.crops = plain(crops)
        if not is_integer(self.crops) or self.crops not in CROPS:
            raise InputError(f"expected crops to be one of {CROPS}, got {shown(crops)}")
        if not isinstance(scales, Sequence | Tensor | np.ndarray | None) or isinstance(scales, str):
            raise InputError(f"expected scales as a list of whole numbers, got {shown(scales)}")
        self.scales = None if scales is None else tuple(check_count("every scale", scale) for scale in scales)
        if self.scales is not None and min(self.scales, default=0) < self.size:
            raise InputError(f"expected scales of {self.size} or more, the size of the crops, got {list(self.scales)}")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, K)."""
        logs = [wide(ask(self.model, crop)).log_softmax(1) for crop in self._views(x)]
        return torch.stack(logs).logsumexp(0) - math.log(len(logs))

    def views(self, x: Tensor) -> list[Tensor]:
        """Return all crops of x, each (N, C, size, size).

        Args:
            x: images (N, C, H, W).
        """
        return list(self._views(x))

    def _views(self, x: Tensor) -> Iterator[Tensor]:
        """The crops one by one: 144 of a batch of photographs would fill gigabytes."""
        from torchvision.transforms.v2 import functional

        check_batch(x)
        if min(x.shape[2:]) < self.size:
            raise InputError(f"expected images of {self.size} pixels or more, got {tuple(x.shape)}")
        ways = {1: _centre, 5: functional.five_crop, 10: functional.ten_crop, 36: _of_squares, 50: _on_grid}
        cut = ways[self.crops]
        for scale in self.scales or (None,):
            yield from cut(x if scale is None else _resized(x, scale), [self.size, self.size])


def ten_crop(model: nn.Module, *, size: int | None = None) -> CropAverage:
    """Krizhevsky's test: corners and centre with their mirror images, such as 224 pixels of images of 256.

    Args:
        model: callable that takes images and returns logits.
        size: side of the crops; default: that of the network's card.
    """
    return CropAverage(model, size=size, crops=10)


def multi_scale(model: nn.Module, *, scales: Sequence[int], size: int | None = None, crops: int = 10) -> CropAverage:
    """VGG's test at several scales Q; `vgg_scales` returns the paper's.

    Args:
        model: callable that takes images and returns logits.
        scales: lengths Q to which the shorter side is resized first.
        size: side of the crops; default: that of the network's card.
        crops: number of crops at each scale: 1, 5, 10, 36 or 50, see `CropAverage`; the paper takes 50.
    """
    return CropAverage(model, size=size, crops=crops, scales=scales)


def googlenet_crops(model: nn.Module, *, size: int | None = None) -> CropAverage:
    """GoogLeNet's test: 36 crops at each of four scales, 144 in all.

    Args:
        model: callable that takes images and returns logits.
        size: side of the crops; default: that of the network's card.
    """
    size = _own_size(model) if size is None else size
    return CropAverage(model, size=size, crops=36, scales=googlenet_scales(size))


def googlenet_scales(size: int) -> tuple[int, int, int, int]:
    """Return GoogLeNet's lengths of the shorter side: 256, 288, 320 and 352 for crops of 224, else in proportion.

    Args:
        size: side of the crops.

    Raises:
        InputError: a number is outside its range, or none.
    """
    size = check_count("size", size)
    first, second, third, fourth = (round(size * share / 7) for share in (8, 9, 10, 11))
    return first, second, third, fourth


def vgg_scales(low: int, high: int | None = None) -> tuple[int, int, int]:
    """Return the test scales Q of a network trained at the fixed scale S = low, or at S from low .. high.

    S - 32, S, S + 32 for a fixed S; low, (low + high) / 2, high for a random one.

    Args:
        low: the scale S of the training, or the smallest one.
        high: the largest scale of the training; None if it was fixed.

    Raises:
        InputError: a number is outside its range, or none.
    """
    low, high = check_count("low", low), None if high is None else check_count("high", high)
    return (low - 32, low, low + 32) if high is None else (low, (low + high) // 2, high)


def _own_size(model: nn.Module) -> int:
    """The side of the square images that a network's card names."""
    shape = getattr(getattr(model, "card", None), "input_shape", None)
    if shape is None or shape[1] != shape[2]:
        raise InputError(f"expected a network whose card names a square input, got {type(model).__name__}: give size=")
    return int(shape[1])


def _resized(x: Tensor, shorter: int) -> Tensor:
    from torchvision.transforms.v2 import functional

    resized: Tensor = functional.resize(x, [shorter], antialias=True)
    return resized.clamp(0, 1)


def _centre(x: Tensor, size: list[int]) -> tuple[Tensor]:
    from torchvision.transforms.v2 import functional

    return (functional.center_crop(x, size),)


def _on_grid(x: Tensor, size: list[int]) -> Iterator[Tensor]:
    """25 crops at equal distances from the first corner to the last, and their mirror images."""
    from torchvision.transforms.v2 import functional

    tops, lefts = ([round(i * (side - size[0]) / (GRID - 1)) for i in range(GRID)] for side in x.shape[2:])
    for top in tops:
        for left in lefts:
            view = x[:, :, top : top + size[0], left : left + size[1]]
            yield view
            yield functional.horizontal_flip(view)


def _of_squares(x: Tensor, size: list[int]) -> Iterator[Tensor]:
    """Six views of the first, the middle and the last square of x, and their mirror images."""
    from torchvision.transforms.v2 import functional

    for square in _squares(x):
        whole = functional.resize(square, size, antialias=True).clamp(0, 1)
        for view in (*functional.five_crop(square, size), whole):
            yield view
            yield functional.horizontal_flip(view)


def _squares(x: Tensor) -> Iterator[Tensor]:
    """The squares at both ends and in the middle of the longer side; one for a square image, where they are one."""
    height, width = x.shape[2:]
    side, beyond = min(height, width), abs(height - width)
    for start in (0, beyond // 2, beyond) if beyond else (0,):
        yield x[:, :, start : start + side] if height > width else x[..., start : start + side]
