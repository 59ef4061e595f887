"""What a patch is on paper: its distance to printable colours, and its total variation (Sharif et al. 2016).

Sharif, Bhagavatula, Bauer, Reiter 2016, *Accessorize to a Crime*, ACM CCS 2016.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.core.files import user_path

Palette = str | Sequence[Sequence[float]] | Tensor
"""A name, a file, or colours (K, C) from 0 to 1."""

SOLIDS = {  # (cyan, magenta, yellow): red, green, blue from 0 to 255, as offset inks on coated paper look about
    (0, 0, 0): (240, 241, 244),
    (1, 0, 0): (0, 158, 224),
    (0, 1, 0): (230, 0, 126),
    (0, 0, 1): (255, 237, 0),
    (1, 1, 0): (49, 39, 131),
    (1, 0, 1): (0, 150, 64),
    (0, 1, 1): (227, 6, 19),
    (1, 1, 1): (60, 50, 48),
}
BLACK = (29, 29, 27)
GAMMA = 2.2
LUMA = (0.299, 0.587, 0.114)


@cache
def inks() -> Tensor:
    """Return the 29 colours (29, 3) that cyan, magenta and yellow make at coverages of 0, 1/2 and 1, and black.

    A halftone is a mosaic of solid colours. Its colour is their mean in linear light, weighted by their areas, which
    are products of the coverages (Neugebauer's equations). Black is printed on paper at 1/2 and 1.
    """
    solid = (torch.tensor(list(SOLIDS.values()), dtype=torch.float64, device="cpu") / 255) ** GAMMA  # (8, 3)
    inked = torch.tensor(list(SOLIDS), dtype=torch.bool, device="cpu")  # (8, 3)
    third = torch.tensor([0, 0.5, 1], dtype=torch.float64, device="cpu")
    cover = torch.cartesian_prod(third, third, third)[:, None]  # (27, 1, 3)
    area = torch.where(inked, cover, 1 - cover).prod(2)  # (27, 8)
    black = (torch.tensor(BLACK, dtype=torch.float64, device="cpu") / 255) ** GAMMA
    linear: Tensor = torch.cat([area @ solid, torch.stack([(solid[0] + black) / 2, black])])
    return linear ** (1 / GAMMA)


def colours_of(palette: Palette) -> Tensor:
    """Return the colours (K, 1) or (K, 3) of a palette, from 0 to 1.

    Args:
        palette: "inks", the path of a text file with a colour on each line, or the colours themselves. A colour is one
            number or three, separated by blanks or commas, from 0 to 1; a file with larger numbers counts to 255.

    Raises:
        InputError: the palette is none of these.
    """
    if isinstance(palette, str):
        return inks() if palette == "inks" else _read(palette)
    try:
        colours = torch.as_tensor(palette, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise _refused(f"{palette!r}"[:60]) from error
    return _checked(colours, f"numbers of shape {tuple(colours.shape)}")


def _read(path: str) -> Tensor:
    file = user_path(path)
    if not file.exists():
        raise unknown("palette", path, ["inks"], "(or the path of a file with a colour on each line)")
    try:
        lines = [line.partition("#")[0].replace(",", " ") for line in file.read_text(encoding="utf-8").splitlines()]
        colours = torch.tensor([[float(word) for word in line.split()] for line in lines if line.strip()], device="cpu")
    except (OSError, ValueError) as error:
        raise _refused(f"the file {path}: {' '.join(str(error).split())}") from error
    colours = colours.double()
    return _checked(colours / 255 if colours.numel() and colours.max() > 1 else colours, f"the file {path}")


def _checked(colours: Tensor, source: str) -> Tensor:
    if colours.ndim != 2 or not len(colours) or colours.shape[1] not in (1, 3):
        raise _refused(source)
    if not bool(((colours >= 0) & (colours <= 1)).all()):
        raise _refused(f"{source} from {float(colours.min()):g} to {float(colours.max()):g}")
    return colours


def _refused(source: str) -> InputError:
    return InputError(f"expected palette as colours of one number or three, from 0 to 1, got {source}")


def seen_by(colours: Tensor, patch: Tensor) -> Tensor:
    """Return the colours (K, C) with the channels and the type of a patch (M, C, S, S).

    Args:
        colours: colours (K, 1) or (K, 3) from 0 to 1. For images of one channel, three become their luma.
        patch: the patch.

    Raises:
        InputError: the images have other than one or three channels.
    """
    channels = patch.shape[1]
    if channels == 1 and colours.shape[1] == 3:
        colours = (colours * colours.new_tensor(LUMA)).sum(1, keepdim=True)
    if channels not in (1, 3):
        raise InputError(f"printable colours are for images of 1 or 3 channels, got {channels}")
    return colours.expand(-1, channels).to(patch)


def strayed(patch: Tensor, colours: Tensor) -> Tensor:
    """Return the way (M, C, S, S) from the nearest of the colours (K, C) to each pixel of a patch (M, C, S, S)."""
    pixels = patch.movedim(1, -1)  # (M, S, S, C)
    flat = pixels.reshape(-1, pixels.shape[-1])
    wide = torch.promote_types(patch.dtype, torch.float32)
    apart = torch.cdist(flat.to(wide), colours.to(wide), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = colours[apart.argmin(1)].view(pixels.shape)
    return (pixels - nearest).movedim(-1, 1)


def non_printability(patch: Tensor, colours: Tensor) -> Tensor:
    """Return the mean distance (M,) of the pixels of a patch (M, C, S, S) to the nearest of the colours (K, C)."""
    score: Tensor = torch.linalg.vector_norm(strayed(patch, colours), dim=1).mean((1, 2))
    return score


def non_printability_slope(patch: Tensor, colours: Tensor) -> Tensor:
    """Return the gradient (M, C, S, S) of `non_printability`: away from the nearest colour, 0 on it."""
    way = strayed(patch, colours)
    length = torch.linalg.vector_norm(way, dim=1, keepdim=True)
    slope: Tensor = way / length.clamp(min=1e-9) / way[0, 0].numel()
    return slope


def total_variation(patch: Tensor) -> Tensor:
    """Return the mean squared difference (M,) of neighbours in a patch (M, C, S, S), by columns plus by rows."""
    if patch.shape[2] < 2:
        return patch.new_zeros(len(patch))
    return (patch.diff(dim=2) ** 2).mean((1, 2, 3)) + (patch.diff(dim=3) ** 2).mean((1, 2, 3))


def total_variation_slope(patch: Tensor) -> Tensor:
    """Return the gradient (M, C, S, S) of `total_variation`."""
    slope = torch.zeros_like(patch)
    for dim in (2, 3):
        step = patch.diff(dim=dim)
        if step.numel():
            share = 2 * step / step[0].numel()
            low, high = slope.narrow(dim, 0, step.shape[dim]), slope.narrow(dim, 1, step.shape[dim])
            low -= share
            high += share
    return slope
