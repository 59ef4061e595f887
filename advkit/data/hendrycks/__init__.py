"""The 15 corruptions of ImageNet-C and CIFAR-10-C, made from any images at the published strengths.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", arXiv
1903.12261. The results have 256 levels, truncated and not rounded, as in the authors' files.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from advkit.core import door
from advkit.core.draws import Draws
from advkit.core.errors import InputError, unknown
from advkit.core.float64 import lacks_float64
from advkit.core.option_numbers import shown
from advkit.core.plain import is_integer, plain
from advkit.data.hendrycks.digital_damage import contrast, elastic_transform, jpeg_compression, pixelate
from advkit.data.hendrycks.ice import drawn_ice, photographed_ice
from advkit.data.hendrycks.optical_blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from advkit.data.hendrycks.published_strengths import LARGE, STRENGTHS
from advkit.data.hendrycks.sensor_noise import gaussian_noise, impulse_noise, shot_noise
from advkit.data.hendrycks.weather import brightness, fog, frost, snow

__all__ = ["KINDS", "STRENGTHS", "corrupt_as_published", "table_for"]

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}
KINDS = tuple(_FUNCTIONS)
"""The kinds of corruption, in the paper's order."""


def table_for(height: int, width: int) -> str:
    """Return the table of strengths for images of this size: "imagenet" from 64 pixels on, else "cifar".

    Args:
        height, width: size of the images.
    """
    return "imagenet" if min(height, width) >= LARGE else "cifar"


def corrupt_as_published(
    x: Tensor,
    kind: str,
    severity: int,
    *,
    table: str | None = None,
    sample_ids: Tensor | None = None,
    seed: int = 0,
    frost: str | Path | None = None,
) -> Tensor:
    """Apply one of the 15 corruptions to images.

    Args:
        x: images (N, C, H, W) in [0, 1] with one or three channels; they are rounded to 256 levels first.
        kind: one of `KINDS`.
        severity: severity of the corruption, 1 to 5.
        table: table of the strengths, "imagenet" or "cifar"; default: by the size of the images, see `table_for`.
        sample_ids: (N,) integers that name the samples; an image's random numbers depend on its name and the seed only.
        seed: seed of the random numbers.
        frost: folder of the authors' photographs of frost; by default ice is drawn, which is not the published
            corruption.

    Returns:
        (N, C, H, W) in [0, 1] of 256 levels, x's type.

    Raises:
        InputError: the kind, the table or the severity is unknown, or x is no batch of such images.
    """
    if kind not in _FUNCTIONS:
        raise unknown("corruption", kind, KINDS)
    severity = plain(severity)
    if not is_integer(severity) or severity not in range(1, 6):
        raise InputError(f"expected a severity from 1 to 5, got {shown(severity)}")
    if table is not None and table not in STRENGTHS:
        raise unknown("table of strengths", str(table), STRENGTHS)
    door.check_images(x, (0, 1))
    if x.ndim != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < 8:
        raise InputError(f"expected images (N, 1 or 3, H, W) of 8 pixels and more, got {tuple(x.shape)}")
    place, kept = x.device, x.dtype
    x = x.cpu() if lacks_float64(x) else x
    draws = Draws(door.check_seed(seed), door.check_ids(sample_ids, x).to(x.device))
    table = table or table_for(*x.shape[2:])
    levels = (x.double() * 255).round() / 255
    out = _applied(levels, kind, STRENGTHS[table][kind][severity - 1], draws, table, frost)
    return ((out.clamp(0, 1) * 255).floor() / 255).to(kept).to(place)


def _applied(x: Tensor, kind: str, strength: object, draws: Draws, table: str, folder: str | Path | None) -> Tensor:
    if kind != "frost":
        return _FUNCTIONS[kind](x, strength, draws)
    if folder is None:
        return frost(x, strength, draws, drawn_ice(x, draws))  # type: ignore[arg-type]
    return frost(x, strength, draws, photographed_ice(x, draws, Path(folder), shrink=table == "cifar"))  # type: ignore[arg-type]
