"""Changes of shape: affine, elastic, stretch, rotation with a crop.

Affine and elastic: Simard, Steinkraus, Platt 2003 (Best practices for convolutional neural networks applied to visual
document analysis), sec. 2. Stretch and rotation: Wu et al. 2015 (Deep Image), arXiv 1501.02876, sec. 3.2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.training.augment._base import AUGMENTATIONS, Augmentation, Numbers, check
from advkit.training.augment._resample import affine_maps, resize_windows, sample, warp


@AUGMENTATIONS.register("affine")
@dataclass(frozen=True, kw_only=True)
class Affine(Augmentation):
    """Every image is sheared, turned and scaled about its centre and shifted, by its own uniform random amounts.

    Pixels are interpolated bilinearly; points outside the image are 0. At zeros nothing changes.

    Args:
        rotation: largest angle, in degrees, either way.
        shift: largest shift along each axis, in pixels, either way (of where the centre comes from).
        scale: largest relative change of size: 0.1 is 0.9 to 1.1 times.
        shear: largest angle by which verticals lean, in degrees, either way.

    Raises:
        InputError: an amount is negative, the scale is 1 or more, or the shear is 90 or more.
    """

    rotation: float = 15.0
    shift: float = 2.0
    scale: float = 0.15
    shear: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check("rotation", self.rotation, 0 <= self.rotation < math.inf, "of 0 or more")
        check("shift", self.shift, 0 <= self.shift < math.inf, "of 0 or more")
        check("scale", self.scale, 0 <= self.scale < 1, "in [0, 1)")
        check("shear", self.shear, 0 <= self.shear < 90, "in [0, 90)")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """One resampling."""
        return warp(x, self.maps(x.shape, numbers))

    def maps(self, shape: torch.Size, numbers: Numbers) -> Tensor:
        """Return the maps (N, 2, 3) from each output image to its input, in the coordinates of `affine_grid`.

        Args:
            shape: shape (N, C, H, W) of the images.
            numbers: random numbers of the samples.
        """
        angle = numbers.uniform(-self.rotation, self.rotation).deg2rad()
        right, down = (numbers.uniform(-self.shift, self.shift) for _ in range(2))
        zoom = 1 / numbers.uniform(1 - self.scale, 1 + self.scale)
        lean = numbers.uniform(-self.shear, self.shear).deg2rad().tan()
        maps = affine_maps(shape, angle, zoom, right, down, torch.ones_like(angle))
        maps[:, 0, :2] += (lean * shape[2] / shape[3])[:, None] * maps[:, 1, :2]  # the shift is not sheared
        return maps


@AUGMENTATIONS.register("elastic")
@dataclass(frozen=True, kw_only=True)
class Elastic(Augmentation):
    """Each pixel is taken from a place nearby: uniform random fields in [-1, 1], smoothed by a Gaussian, times alpha.

    Pixels are interpolated bilinearly; points outside the image are 0. The defaults are Simard's best values for MNIST;
    pixels then move by 1.4 pixels (sd) along each axis, and a little more at the edges.

    Args:
        alpha: factor of the random fields, in pixels; at 0 nothing changes.
        sigma: sd of the Gaussian, in pixels; the larger, the smoother and (at the same alpha) the weaker.

    Raises:
        InputError: alpha is below 0, or sigma is not above 0.
    """

    alpha: float = 34.0
    sigma: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check("alpha", self.alpha, 0 <= self.alpha < math.inf, "of 0 or more")
        check("sigma", self.sigma, 0 < self.sigma < math.inf, "above 0")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """One resampling, at the regular grid plus the fields."""
        size = torch.tensor([x.shape[3], x.shape[2]], dtype=x.dtype, device=x.device)  # W, H
        identity = torch.eye(2, 3, dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
        grid = torch.nn.functional.affine_grid(identity, list(x.shape), align_corners=False)
        moves = self.fields(x, numbers).permute(0, 2, 3, 1)  # (N, H, W, 2)
        return sample(x, grid + moves * 2 / size)

    def fields(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Return the offsets (N, 2, H, W) to the right and down, in pixels, from which each pixel is taken.

        Args:
            x: images (N, C, H, W).
            numbers: random numbers of the samples.
        """
        from torchvision.transforms.v2 import functional

        raw = numbers.uniform(-1, 1, (2, *x.shape[2:])).to(x)
        widest = 2 * (min(x.shape[2:]) - 1) + 1  # the blur mirrors the fields at the edges, once
        kernel, sigma = min(2 * math.ceil(4 * self.sigma) + 1, widest), [self.sigma, self.sigma]
        along_rows = functional.gaussian_blur(raw, [kernel, 1], sigma)  # one axis at a time: 2 k in place of k^2
        smooth: Tensor = functional.gaussian_blur(along_rows, [1, kernel], sigma)
        return self.alpha * smooth


@AUGMENTATIONS.register("stretch")
@dataclass(frozen=True, kw_only=True)
class Stretch(Augmentation):
    """The image gets wider by a factor in [1, 1 + horizontal] and higher by one in [1, 1 + vertical].

    The middle, of the original size, is kept, so no pixel comes from outside. At zeros nothing changes.

    Args:
        horizontal, vertical: largest growth of a side, relative to itself.

    Raises:
        InputError: a negative amount.
    """

    horizontal: float = 0.3
    vertical: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check("horizontal", self.horizontal, 0 <= self.horizontal < math.inf, "of 0 or more")
        check("vertical", self.vertical, 0 <= self.vertical < math.inf, "of 0 or more")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """The two factors are independent."""
        height, width = x.shape[2:]
        high = height / numbers.uniform(1, 1 + self.vertical)  # (N,)
        wide = width / numbers.uniform(1, 1 + self.horizontal)
        return resize_windows(x, ((height - high) / 2, (width - wide) / 2), (high, wide), (height, width))


@AUGMENTATIONS.register("rotate_crop")
@dataclass(frozen=True, kw_only=True)
class RotateCrop(Augmentation):
    """Turns the image and enlarges the largest upright window of its proportions that lies inside it.

    Args:
        degrees: largest angle, either way; at 0 nothing changes.

    Raises:
        InputError: degrees is outside [0, 90].
    """

    degrees: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check("degrees", self.degrees, 0 <= self.degrees <= 90, "in [0, 90]")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """One resampling."""
        angle = numbers.uniform(-self.degrees, self.degrees).deg2rad()
        height, width = x.shape[2:]
        longer = max(height / width, width / height)
        zoom = 1 / (angle.cos() + longer * angle.sin().abs())  # the window's side, in sides of the image
        still = torch.zeros_like(angle)
        return warp(x, affine_maps(x.shape, angle, zoom, still, still, torch.ones_like(angle)), outside="border")
