"""Small random rotations, shifts, scalings and mirrorings, as one resampling of the whole batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.training.augment._base import Augmentation, Numbers
from advkit.training.augment._resample import affine_maps, warp


@dataclass(frozen=True, kw_only=True)
class Augment(Augmentation):
    """Every image is turned, shifted and scaled about its centre by its own uniform random amounts.

    Pixels are interpolated bilinearly; points outside the image are 0.

    Args:
        rotation: largest angle, in degrees, either way.
        shift: largest shift along each axis, in pixels, either way.
        scale: largest relative change of size: 0.1 is 0.9 to 1.1 times.
        mirror: whether to exchange left and right in half of the images.

    Raises:
        InputError: an amount is negative, or the scale is 1 or more.
    """

    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    mirror: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.rotation >= 0 and self.shift >= 0 and 0 <= self.scale < 1):
            raise InputError(f"expected rotation >= 0, shift >= 0 and 0 <= scale < 1, got {self}")

    def __call__(self, x: Tensor, draws: Draws | torch.Generator, *, step: int = 0) -> Tensor:
        """Return changed copies of x (N, C, H, W) in [0, 1]; the random numbers come from `draws` only.

        A generator (on the CPU) gives five numbers an image; Draws give each sample its own (see Numbers).
        """
        if isinstance(draws, torch.Generator) and len(x):
            return warp(x, self.maps(x.shape, draws))
        return super().__call__(x, draws, step=step)

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Resample the images once."""
        return warp(x, self._maps(x.shape, numbers.uniform(-1, 1, (5,)).T))

    def maps(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Return the affine maps (N, 2, 3) from each output image to its input, in the coordinates of `affine_grid`.

        Args:
            shape: shape (N, C, H, W) of the images.
            generator: source of the random numbers, on the CPU.
        """
        return self._maps(shape, torch.rand(5, shape[0], generator=generator).mul_(2).sub_(1))

    def _maps(self, shape: torch.Size, numbers: Tensor) -> Tensor:
        """The maps of the numbers (5, N) in [-1, 1)."""
        angle, zoom, right, down, turn = numbers
        sign = torch.where(turn < 0, -1.0, 1.0) if self.mirror else torch.ones_like(turn)
        angle, zoom = angle * self.rotation * (torch.pi / 180), 1 / (1 + zoom * self.scale)
        return affine_maps(shape, angle, zoom, right * self.shift, down * self.shift, sign)
