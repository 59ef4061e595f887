"""Small random rotations, shifts, scalings and mirrorings of a batch, as one resampling of the whole batch."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Every image is turned, shifted and scaled about its centre by its own uniform random amounts.

    Pixels are interpolated bilinearly; what comes from outside the image is 0.

    Args:
        rotation: largest angle, in degrees, either way.
        shift: largest shift along each axis, in pixels, either way.
        scale: largest relative change of size: 0.1 is 0.9 to 1.1 times.
        mirror: turn left and right around for half of the images.

    Raises:
        InputError: a negative amount, or a scale of 1 or more.
    """

    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    mirror: bool = False

    def __post_init__(self) -> None:
        if not (self.rotation >= 0 and self.shift >= 0 and 0 <= self.scale < 1):
            raise InputError(f"expected rotation >= 0, shift >= 0 and 0 <= scale < 1, got {self}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Changed copies of x (N, C, H, W) in [0, 1]; the numbers come from `generator` (on the CPU), no others."""
        grid = F.affine_grid(self.maps(x.shape, generator).to(x), list(x.shape), align_corners=False)
        moved = F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)
        return moved.clamp_(0, 1)  # the four weights of a pixel may add up to one rounding more than 1

    def maps(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """The affine maps (N, 2, 3) from each output image to its input, in the coordinates of `affine_grid`."""
        n, _, height, width = shape
        angle, zoom, right, down, turn = torch.rand(5, n, generator=generator).mul_(2).sub_(1)
        angle = angle * self.rotation * (torch.pi / 180)
        zoom = 1 / (1 + zoom * self.scale)
        sign = torch.where(turn < 0, -1.0, 1.0) if self.mirror else torch.ones(n)
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        row_x = [cos * sign, -sin * height / width, right * self.shift * 2 / width]
        row_y = [sin * sign * width / height, cos, down * self.shift * 2 / height]
        return torch.stack([torch.stack(row_x, 1), torch.stack(row_y, 1)], 1)
