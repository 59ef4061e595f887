"""Resampling of a batch: affine maps and resized windows, different for each image."""

import torch
import torch.nn.functional as F
from torch import Tensor


def affine_maps(shape: torch.Size, angle: Tensor, zoom: Tensor, right: Tensor, down: Tensor, sign: Tensor) -> Tensor:
    """Return the maps (N, 2, 3) from output to input, in the coordinates of `affine_grid`, for images of this shape.

    Args:
        shape: shape (N, C, H, W) of the images.
        angle: (N,), angles in radians.
        zoom: (N,), size of the window in the input, relative to the output.
        right, down: (N,), distances of the window from the centre, in pixels.
        sign: (N,), -1 exchanges left and right.
    """
    height, width = shape[2:]
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    row_x = [cos * sign, -sin * height / width, right * 2 / width]
    row_y = [sin * sign * width / height, cos, down * 2 / height]
    return torch.stack([torch.stack(row_x, 1), torch.stack(row_y, 1)], 1)


def warp(x: Tensor, maps: Tensor, *, outside: str = "zeros") -> Tensor:
    """Sample x (N, C, H, W) at the points of affine maps (N, 2, 3), bilinearly."""
    grid = F.affine_grid(maps.to(x), list(x.shape), align_corners=False)
    return sample(x, grid, outside=outside)


def sample(x: Tensor, grid: Tensor, *, outside: str = "zeros") -> Tensor:
    """Sample x (N, C, H, W) at points (N, H', W', 2) in the coordinates of `grid_sample`, bilinearly, in [0, 1]."""
    moved = F.grid_sample(x, grid, padding_mode=outside, align_corners=False)
    return moved.clamp_(0, 1)  # the four weights of a pixel may add up to one rounding more than 1


def resize_windows(
    x: Tensor, start: tuple[Tensor, Tensor], length: tuple[Tensor, Tensor], size: tuple[int, int]
) -> Tensor:
    """Resize a window of each image with antialiasing; equal to resizing the whole image and cutting the window out.

    The weights are those of torchvision's and PIL's bilinear resize: a triangle, as wide as an output pixel is in the
    input, cut off at the image's edge.

    Args:
        x: images (N, C, H, W).
        start: top (N,) and left (N,) edge of each window, in pixels of x, within the image.
        length: height (N,) and width (N,) of each window, in pixels of x.
        size: size (H', W') of the result.

    Returns:
        (N, C, H', W').
    """
    rows, columns = (
        _weights(s, n, x.shape[axis], out) for s, n, axis, out in zip(start, length, (2, 3), size, strict=True)
    )
    return (rows.to(x)[:, None] @ x @ columns.to(x)[:, None].mT).clamp_(0, 1)


def _weights(start: Tensor, length: Tensor, pixels: int, out: int) -> Tensor:
    """How much each of `pixels` input pixels counts in each of `out` output pixels: (N, out, pixels)."""
    scale = (length / out)[:, None, None]  # input pixels an output pixel
    middle = torch.arange(out, dtype=scale.dtype, device=scale.device) + 0.5
    centre = start[:, None, None] + middle[:, None] * scale  # (N, out, 1)
    place = torch.arange(pixels, dtype=scale.dtype, device=scale.device) + 0.5
    weights = (1 - (place - centre).abs() / scale.clamp(min=1)).clamp(min=0)  # (N, out, pixels)
    return weights / weights.sum(-1, keepdim=True)
