"""Random patches, mirror images and random scales.

Patches and mirror: Krizhevsky, Sutskever, Hinton 2012, sec. 4.1. Scales: Simonyan, Zisserman 2014, arXiv 1409.1556,
sec. 3.1.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.training.augment._base import AUGMENTATIONS, Augmentation, Numbers, check
from advkit.training.augment._resample import resize_windows


@AUGMENTATIONS.register("patch")
@dataclass(frozen=True, kw_only=True)
class RandomPatch(Augmentation):
    """A square patch of each image from a random place; its pixels do not change.

    Krizhevsky takes 224 of 256 pixels; for CIFAR-10 patches of 32 with a black border of 4 are usual.

    Args:
        size: side of the patch; at the size of the image and without padding nothing changes.
        padding: width of a black border that is put around the image first.

    Raises:
        InputError: size is below 1 or padding below 0; when called: images are smaller.
    """

    size: int = 224
    padding: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check("size", self.size, self.size >= 1, "of 1 or more")
        check("padding", self.padding, self.padding >= 0, "of 0 or more")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Cut the patches; every place is equally likely."""
        self.output_size(*x.shape[2:])
        padded = F.pad(x, (self.padding,) * 4)
        top, left = (numbers.integer(0, side - self.size) for side in padded.shape[2:])
        inside = torch.arange(self.size, device=x.device)
        rows, columns = top[:, None] + inside, left[:, None] + inside  # (N, size)
        image = torch.arange(len(x), device=x.device)[:, None, None]
        cut = padded[image, :, rows[:, :, None], columns[:, None]]  # (N, size, size, C)
        return cut.permute(0, 3, 1, 2).contiguous()

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the patch."""
        height, width = check_count("height", height), check_count("width", width)
        if min(height, width) + 2 * self.padding < self.size:
            raise InputError(f"expected images of {self.size} pixels or more with their padding, got {height}x{width}")
        return self.size, self.size


@AUGMENTATIONS.register("mirror")
@dataclass(frozen=True, kw_only=True)
class Mirror(Augmentation):
    """Mirrors a random part of the images.

    Args:
        p: probability that an image is mirrored; at 0 nothing changes.

    Raises:
        InputError: p is outside [0, 1].
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check("p", self.p, 0 <= self.p <= 1, "in [0, 1]")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Return each image or its mirror image."""
        from torchvision.transforms.v2 import functional

        return torch.where(numbers.chance(self.p)[:, None, None, None], functional.horizontal_flip(x), x)


@AUGMENTATIONS.register("scale_jitter")
@dataclass(frozen=True, kw_only=True)
class ScaleJitter(Augmentation):
    """The image resized so that its shorter side is S, drawn for each image, then a square patch from a random place.

    The same as torchvision's resize (bilinear, antialiased) and a crop, but all images at once. VGG's S is 256, 384, or
    drawn from 256 .. 512; for the test scale Q see `multi_scale`.

    Args:
        low, high: bounds of S, a whole number drawn from low .. high.
        size: side of the patch; if low = high = size is the side of a square image, nothing changes.

    Raises:
        InputError: 1 <= size <= low <= high does not hold.
    """

    low: int = 256
    high: int = 512
    size: int = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.size <= self.low <= self.high:
            raise InputError(f"expected 1 <= size <= low <= high, got {self}")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Resize and cut; scale and place are independent."""
        s = numbers.integer(self.low, self.high)  # (N,)
        shorter = min(x.shape[2:])
        sides = [s * side // shorter for side in x.shape[2:]]  # as torchvision rounds
        corner = [numbers.integer(0, side - self.size) for side in sides]
        scales = [side / resized.double() for side, resized in zip(x.shape[2:], sides, strict=True)]
        start = (corner[0] * scales[0], corner[1] * scales[1])
        return resize_windows(x, start, (self.size * scales[0], self.size * scales[1]), (self.size, self.size))

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the patch."""
        height, width = check_count("height", height), check_count("width", width)
        return self.size, self.size
