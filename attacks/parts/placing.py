"""Where a patch lies on an image, how it is turned, scaled and lit; and what the image looks like with it."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError, unknown

SHAPES = ("square", "circle")
PLACES = {
    "random": None,
    "centre": (0.0, 0.0),
    "top_left": (-1.0, -1.0),
    "top_right": (1.0, -1.0),
    "bottom_left": (-1.0, 1.0),
    "bottom_right": (1.0, 1.0),
}
"""Right and down, from -1 to 1, as a share of the way from the centre to where the patch meets the edge."""


class Pose(NamedTuple):
    """How the patch lies on each image."""

    angle: Tensor  # (M,) in radians
    scale: Tensor  # (M,) as a factor
    light: Tensor  # (M,) added to the patch
    right: Tensor  # (M,) -1 to 1, see PLACES
    down: Tensor  # (M,)


@dataclass(frozen=True)
class Placing:
    """The transformations among which a pose is drawn.

    Args:
        rotation: the largest angle in degrees, either way.
        scale: the largest change of the side, as a share of it, either way.
        brightness: the largest number added to the patch, either way.
        place: place of the patch, a name of `PLACES`.
    """

    rotation: float
    scale: float
    brightness: float
    place: str

    def pose(self, draws: Draws, step: int, like: Tensor) -> Pose:
        """Draw a random pose for each row."""
        numbers = (2 * draws.uniform(step, (5,), stream=300) - 1).to(like.dtype)
        angle, scale, light, right, down = numbers.unbind(1)
        fixed = PLACES[self.place]
        if fixed is not None:
            right, down = torch.full_like(right, fixed[0]), torch.full_like(down, fixed[1])
        return Pose(angle * math.radians(self.rotation), 1 + scale * self.scale, light * self.brightness, right, down)


def side_of(share: float, height: int, width: int) -> int:
    """Return the side in pixels of the square of that share of the area, at least 1 and at most the image's."""
    return max(1, min(round(math.sqrt(share * height * width)), height, width))


def put_on(x: Tensor, patch: Tensor, pose: Pose, shape: str | Tensor) -> tuple[Tensor, Tensor]:
    """The images (M, C, H, W) with their patches (M, C, S, S), and the places (M, 1, H, W) bool that the patch covers.

    What the patch does not cover is x to the bit. Without rotation and change of size its edges lie on those of pixels.
    """
    height, width, side = x.shape[2], x.shape[3], patch.shape[3]
    grid = F.affine_grid(_into_patch(pose, height, width, side), list(x.shape), align_corners=False)
    seen = F.grid_sample(patch, grid, padding_mode="border", align_corners=False)
    seen = seen + pose.light.view(-1, 1, 1, 1)
    inside = _covers(grid, shape, patch)
    return torch.where(inside, seen, x), inside


def _into_patch(pose: Pose, height: int, width: int, side: int) -> Tensor:
    """(M, 2, 3): from the image's coordinates, -1 to 1 each way, to the patch's."""
    cos, sin = pose.angle.cos() / pose.scale, pose.angle.sin() / pose.scale
    reach = side * pose.scale * (pose.angle.cos().abs() + pose.angle.sin().abs())  # the side of the box around it
    straight = (pose.angle == 0) & (pose.scale == 1)
    x0, y0 = (_centre(at, reach, size, straight) for at, size in ((pose.right, width), (pose.down, height)))
    right, down = width / side, height / side
    linear = torch.stack([cos * right, sin * down, -sin * right, cos * down], 1).view(-1, 2, 2)
    return torch.cat([linear, -linear @ torch.stack([x0, y0], 1)[:, :, None]], 2)


def _centre(at: Tensor, reach: Tensor, size: int, straight: Tensor) -> Tensor:
    """Where the centre is, in the image's coordinates: the patch never leaves the image."""
    room = (size - reach).clamp(min=0) / 2  # pixels from the middle
    moved = at * room
    return 2 * torch.where(straight, (moved + room).round() - room, moved) / size


def _covers(grid: Tensor, shape: str | Tensor, patch: Tensor) -> Tensor:
    right, down = grid.unbind(3)
    if isinstance(shape, Tensor):
        mask = shape.to(patch).expand(len(patch), 1, *shape.shape[-2:])
        return F.grid_sample(mask, grid, mode="nearest", align_corners=False) > 0.5
    within = right.abs().maximum(down.abs()) if shape == "square" else (right**2 + down**2).sqrt()
    covered: Tensor = (within <= 1)[:, None]
    return covered


def corner(place: str, draws: Draws, height: int, width: int, side: int) -> tuple[Tensor, Tensor]:
    """The row and the column (M,) int64 of the upper left pixel of a square of `side` pixels, inside the image."""
    fixed = PLACES[place]
    numbers = draws.uniform(0, (2,), stream=301)
    if fixed is not None:
        numbers = (1 + numbers.new_tensor([fixed[1], fixed[0]])).expand_as(numbers) / 2
    room = numbers.new_tensor([height - side, width - side])
    row, column = ((room + 1) * numbers).floor().minimum(room).long().unbind(1)
    return row, column


def check_shape(shape: str | Tensor) -> None:
    """A name of `SHAPES` or a mask of 0 and 1.

    Raises:
        InputError: neither.
    """
    if isinstance(shape, Tensor):
        if shape.ndim != 2 or not bool(((shape == 0) | (shape == 1)).all()) or not bool(shape.any()):
            raise InputError("expected shape as a mask (S, S) of 0 and 1 with at least one 1, or 'square' or 'circle'")
    elif not isinstance(shape, str):
        seen = type(shape).__name__
        raise InputError(
            f"expected shape as 'square', 'circle' or a tensor (S, S), got {seen}; torch.tensor(...) makes one"
        )
    elif shape not in SHAPES:
        raise unknown("shape", str(shape), SHAPES)


def check_place(place: str) -> None:
    """A name of `PLACES`.

    Raises:
        UnknownNameError: any other.
    """
    if not isinstance(place, str) or place not in PLACES:
        raise unknown("place", str(place), PLACES)
