"""CIELUV: a space of colours in which equal distances look about equal (CIE 1976; sRGB of IEC 61966-2-1)."""

import torch
from torch import Tensor

TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
"""Linear sRGB to the tristimulus values of D65."""

SPAN = ((0.0, 100.0), (-83.1, 175.1), (-134.2, 107.5))
"""The range of L, u and v over all colours of sRGB."""

KNEE = (6 / 29) ** 3
"""Below this luminance lightness grows in proportion to it."""


def to_luv(rgb: Tensor) -> Tensor:
    """(M, 3, ...) sRGB in [0, 1] -> L, u, v as shares of their range."""
    X, Y, Z = _matrix(rgb, linear(rgb))
    L = torch.where(Y > KNEE, 116 * Y.clamp(min=KNEE) ** (1 / 3) - 16, Y * (29 / 3) ** 3)
    total = (X + 15 * Y + 3 * Z).clamp(min=1e-9)
    u0, v0 = _white(rgb)
    luv = torch.stack([L, 13 * L * (4 * X / total - u0), 13 * L * (9 * Y / total - v0)], 1)
    low, width = _span(rgb)
    return (luv - low) / width


def to_rgb(shares: Tensor) -> Tensor:
    """Return the inverse of `to_luv`; colours that sRGB does not have are cut off at its range."""
    low, width = _span(shares)
    L, u, v = (shares * width + low).unbind(1)
    L = L.clamp(min=0)
    u0, v0 = _white(shares)
    dark = 13 * L.clamp(min=1e-6)
    Y = torch.where(L > 8, ((L.clamp(min=8) + 16) / 116) ** 3, L / (29 / 3) ** 3)
    up, vp = u / dark + u0, (v / dark + v0).clamp(min=1e-3)
    X, Z = Y * 9 * up / (4 * vp), Y * (12 - 3 * up - 20 * vp) / (4 * vp)
    inverse = torch.linalg.inv(shares.new_tensor(TO_XYZ, dtype=torch.float64)).to(shares)
    rgb = torch.stack([X, Y, Z], 1)
    return display((inverse @ rgb.flatten(2)).view_as(rgb).clamp(0, 1))


def linear(rgb: Tensor) -> Tensor:
    """Light in proportion to energy, from what a display is given."""
    return torch.where(rgb > 0.04045, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)


def display(light: Tensor) -> Tensor:
    """Return what a display is given, from light in proportion to energy."""
    return torch.where(light > 0.0031308, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, 12.92 * light)


def _matrix(like: Tensor, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    matrix = like.new_tensor(TO_XYZ)
    X, Y, Z = (matrix @ rgb.flatten(2)).view_as(rgb).unbind(1)
    return X, Y, Z


def _white(like: Tensor) -> tuple[float, float]:
    """u' and v' of the white of sRGB, so that greys have neither."""
    X, Y, Z = (sum(row) for row in TO_XYZ)
    total = X + 15 * Y + 3 * Z
    return 4 * X / total, 9 * Y / total


def _span(like: Tensor) -> tuple[Tensor, Tensor]:
    low, high = like.new_tensor(SPAN).view(3, 2, *[1] * (like.ndim - 2)).unbind(1)
    return low, high - low
