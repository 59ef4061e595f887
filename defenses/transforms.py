"""Changes of the image in front of a network: each with the pass that an adaptive attack sends its gradient through."""

import inspect
import io
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from advkit.core.door import check_count, check_positive, check_seed
from advkit.core.errors import InputError, check_given
from advkit.core.pixel_range import Bounds, check_range, from_unit, to_unit
from advkit.core.registry import Registry
from advkit.defenses.soft_jpeg import soft_jpeg

TRANSFORMS: "Registry[Transform]" = Registry("transform", "advkit.defenses", example="jpeg(quality=75)")

REACH = 8
"""The most that a blur may reach beyond the image, in lengths of its longer side: wider ones fill the memory."""

ROUNDED = 1e-3
"""What the total variation adds under its square root; its curvature is then at most 1 / sqrt(ROUNDED)."""


@dataclass(frozen=True)
class Transform(ABC):
    """A change of images (N, C, H, W): `change` takes them in [0, 1], a call in any range that is stated.

    Traits: `paper`; `straight_through` (the derivative is 0 or does not exist: an adaptive attack takes that of
    `stand_in`, BPDA, Athalye et al. 2018, arXiv 1802.00420); `random` (it is not the same twice: an adaptive attack
    takes the mean over draws, EOT).
    """

    paper: ClassVar[str] = ""
    straight_through: ClassVar[bool] = False
    random: ClassVar[bool] = False

    @property
    def draws(self) -> bool:
        """Whether it is drawn anew in every call; an option may fix a transform that is `random` by nature."""
        return self.random

    @abstractmethod
    def change(self, x: Tensor) -> Tensor:
        """Return the changed images.

        Args:
            x: images (N, C, H, W) in [0, 1].
        """

    def __call__(self, x: Tensor, *, bounds: Bounds = (0, 1)) -> Tensor:
        """The changed images, with the derivative that an adaptive attack uses.

        Args:
            x: images (N, C, H, W) within `bounds`.
            bounds: range of the pixels.

        Raises:
            InputError: the images have pixels outside `bounds`.
        """
        check_range(f"the transform {type(self).__name__}", x, bounds)
        return from_unit(self._passed(to_unit(x, bounds)), bounds)

    def _passed(self, x: Tensor) -> Tensor:
        if not self.straight_through:
            return self.change(x)
        with torch.no_grad():
            changed = self.change(x.detach())
        if not (x.requires_grad and torch.is_grad_enabled()):
            return changed
        like = self.stand_in(x)
        return like + (changed - like).detach()

    def stand_in(self, x: Tensor) -> Tensor:
        """Return a function whose derivative an adaptive attack takes for that of `change`; the identity by default.

        Args:
            x: images (N, C, H, W) in [0, 1].
        """
        return x


@TRANSFORMS.register("bit_depth")
@dataclass(frozen=True)
class BitDepth(Transform):
    """Every pixel rounded to a number of bits (Guo et al. 2018; Xu, Evans, Qi 2018).

    Args:
        bits: number of bits, 1 to 8.
    """

    paper = "Guo et al. 2018, arXiv 1711.00117"
    straight_through = True

    bits: int = 3

    def __post_init__(self) -> None:
        check_count("bits", self.bits, most=8)

    def change(self, x: Tensor) -> Tensor:
        """Rounded to the nearest level."""
        levels = 2**self.bits - 1
        rounded: Tensor = (x * levels).round() / levels
        return rounded


@TRANSFORMS.register("jpeg")
@dataclass(frozen=True)
class JPEG(Transform):
    """Saved as JPEG and read again (Dziugaite, Ghahramani, Roy 2016).

    Noise, and the look-ahead of some attacks, leave the range of the pixels on purpose: there pixels are clipped.

    An adaptive attack goes through the same cosine transform and tables with a smooth rounding, see `soft_jpeg`.

    Args:
        quality: quality of the JPEG, 1 to 100.
    """

    paper = "Dziugaite et al. 2016, arXiv 1608.00853"
    straight_through = True

    quality: int = 75

    def __post_init__(self) -> None:
        check_count("quality", self.quality, most=100)

    def change(self, x: Tensor) -> Tensor:
        """Encode and decode each image; it must have one or three channels."""
        _check_maps(self, x)
        if x.shape[1] not in (1, 3):
            raise InputError(f"expected images of 1 or 3 channels for jpeg, got {x.shape[1]}")
        if not len(x):
            return x.clone()
        pixels = (x.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()
        read = torch.stack([self._coded(image) for image in pixels])  # (N, H, W, C)
        return read.permute(0, 3, 1, 2).to(x.device, x.dtype) / 255

    def stand_in(self, x: Tensor) -> Tensor:
        """Return the codec in tensor operations, its rounding replaced by one with a derivative."""
        return soft_jpeg(x, self.quality)

    def _coded(self, image: "np.ndarray[Any, Any]") -> Tensor:
        """(H, W, C) uint8 there and back."""
        file = io.BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "JPEG", quality=self.quality)
        return torch.from_numpy(np.array(Image.open(file))).view(image.shape)


@TRANSFORMS.register("median")
@dataclass(frozen=True)
class Median(Transform):
    """The median of each pixel's neighbourhood (Xu, Evans, Qi 2018); its derivative is exact.

    Args:
        size: side of the neighbourhood, odd.
    """

    paper = "Xu et al. 2018, arXiv 1704.01155"

    size: int = 3

    def __post_init__(self) -> None:
        if not check_count("size", self.size) % 2:
            raise InputError(f"expected size as an odd number, got {self.size!r}")

    def change(self, x: Tensor) -> Tensor:
        """By channel, the borders mirrored."""
        _check_maps(self, x)
        n, c, h, w = x.shape
        side = self.size // 2
        if side >= min(h, w):
            raise InputError(f"expected size at most {2 * min(h, w) - 1} for images of {h}x{w} pixels, got {self.size}")
        padded = F.pad(x, [side] * 4, mode="reflect")
        windows = F.unfold(padded.reshape(n * c, 1, h + 2 * side, w + 2 * side), self.size)  # (N C, size^2, H W)
        return windows.median(dim=1).values.view(n, c, h, w)


@TRANSFORMS.register("gaussian")
@dataclass(frozen=True)
class Gaussian(Transform):
    """A Gaussian blur; its derivative is exact.

    Args:
        sigma: standard deviation in pixels.
    """

    paper = "Xu et al. 2018, arXiv 1704.01155"

    sigma: float = 1.0

    def __post_init__(self) -> None:
        check_positive("sigma", self.sigma)

    def change(self, x: Tensor) -> Tensor:
        """Blur with a kernel of three standard deviations; the borders are repeated."""
        _check_maps(self, x)
        (c, h, w), side = x.shape[1:], max(1, round(3 * self.sigma))
        if side > REACH * max(h, w):
            most = REACH * max(h, w) // 3
            raise InputError(f"expected sigma at most {most} for images of {h}x{w} pixels, got {self.sigma:g}")
        at = torch.arange(-side, side + 1, device=x.device, dtype=x.dtype)
        kernel = (-(at**2) / (2 * self.sigma**2)).softmax(0)
        x = F.pad(x, [side, side, 0, 0], mode="replicate")
        x = F.conv2d(x, kernel.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
        x = F.pad(x, [0, 0, side, side], mode="replicate")
        return F.conv2d(x, kernel.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)


@TRANSFORMS.register("total_variation")
@dataclass(frozen=True)
class TotalVariation(Transform):
    """The image z that minimises `|z - x|^2 / 2 + weight TV(z)` (Guo et al. 2018); its derivative is exact.

    TV is the sum of `sqrt(dx^2 + dy^2 + 1e-3)` over the pixels of each channel. The steps are those of Nesterov's
    method (2018, section 2.2.1) from z = x. Their length is 1 / L, L a bound of the curvature, so they converge.

    Args:
        weight: weight of the total variation.
        steps: number of steps; 20 come within 0.1 % of the smallest value at the default weight.
    """

    paper = "Guo et al. 2018, arXiv 1711.00117"

    weight: float = 0.1
    steps: int = 20

    def __post_init__(self) -> None:
        check_positive("weight", self.weight)
        check_count("steps", self.steps)

    def change(self, x: Tensor) -> Tensor:
        """Return the last z."""
        _check_maps(self, x)
        L = 1 + 8 * self.weight / ROUNDED**0.5  # |gradient of the differences|^2 <= 8
        inertia = (L**0.5 - 1) / (L**0.5 + 1)
        z = ahead = x
        for _ in range(self.steps):
            last, z = z, ahead - (ahead - x - self.weight * _inward(ahead)) / L
            ahead = z + inertia * (z - last)
        return z


def _inward(z: Tensor) -> Tensor:
    """Minus the derivative of the total variation of z (N, C, H, W)."""
    across = F.pad(z[..., 1:] - z[..., :-1], [0, 1])
    down = F.pad(z[..., 1:, :] - z[..., :-1, :], [0, 0, 0, 1])
    length = torch.sqrt(across**2 + down**2 + ROUNDED)
    across, down = across / length, down / length
    return across - F.pad(across[..., :-1], [1, 0]) + down - F.pad(down[..., :-1, :], [0, 0, 1, 0])


@TRANSFORMS.register("resize_pad")
@dataclass(frozen=True)
class ResizePad(Transform):
    """Each image shrunk by up to `pixels` and put back at a random place, zeros around it (Xie et al. 2018).

    Args:
        pixels: largest number of pixels that are taken from each side's length.
        seed: seed of one size and one place for all images and all calls; None: each image is drawn anew in every call.
    """

    paper = "Xie et al. 2018, arXiv 1711.01991"
    random = True

    pixels: int = 4
    seed: int | None = None

    def __post_init__(self) -> None:
        check_count("pixels", self.pixels)
        if self.seed is not None:
            check_seed(self.seed)

    @property
    def draws(self) -> bool:
        """Whether it is drawn anew in every call."""
        return self.seed is None

    def change(self, x: Tensor) -> Tensor:
        """One bilinear resampling; without a seed, sizes and places come from torch's global generator."""
        _check_maps(self, x)
        n, _, h, w = x.shape
        if self.pixels >= min(h, w):
            raise InputError(f"expected pixels below {min(h, w)} for images of {h}x{w} pixels, got {self.pixels}")
        if not n:
            return x.clone()
        if self.seed is None:
            lost = torch.randint(self.pixels + 1, (n,), device=x.device)
            place = torch.rand(n, 2, device=x.device, dtype=x.dtype) * 2 - 1
        else:
            generator = torch.Generator().manual_seed(self.seed)
            lost = torch.randint(1, self.pixels + 1, (1,), generator=generator).to(x.device).expand(n)
            place = (torch.rand(1, 2, generator=generator) * 2 - 1).to(x).expand(n, 2)
        scale = torch.stack([w / (w - lost), h / (h - lost)], 1).to(x.dtype)  # (N, 2)
        theta = torch.zeros(n, 2, 3, device=x.device, dtype=x.dtype)
        theta[:, 0, 0], theta[:, 1, 1] = scale[:, 0], scale[:, 1]
        theta[:, :, 2] = place * (scale - 1)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False, padding_mode="zeros")


def _check_maps(transform: Transform, x: Tensor) -> None:
    """Refuse what has no height and width, such as rows of features (N, D)."""
    if x.ndim != 4:
        name = type(transform).__name__
        raise InputError(f"expected images (N, C, H, W) for the transform {name}, got shape {tuple(x.shape)}")


def list_transforms(pattern: str = "*") -> list[str]:
    """Return the names of the transforms that match a shell pattern.

    Args:
        pattern: shell pattern; default: all names.
    """
    return TRANSFORMS.names(pattern)


def create_transform(spec: str) -> Transform:
    """Create a transform from its spec: "jpeg", "jpeg(75)" or "jpeg(quality=75)".

    Args:
        spec: name of a transform, or a spec such as "jpeg(75)".

    Raises:
        InputError: the name or an option is unknown, or the transform refuses a value.
    """
    check_given("spec", spec, str, "text such as 'jpeg(75)'")
    alone = re.fullmatch(r"\s*(\w+)\(\s*([0-9.e/+-]+)\s*\)\s*", spec)
    if alone:
        first = next(iter(inspect.signature(TRANSFORMS.factory(alone[1])).parameters))
        spec = f"{alone[1]}({first}={alone[2]})"
    return TRANSFORMS.create(spec)
