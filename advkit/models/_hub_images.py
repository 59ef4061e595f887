"""The input of a network on the hub: mean, standard deviation and size from its preprocessor's config."""

import math
from collections.abc import Mapping
from typing import Any

from advkit.core.errors import InputError

LEVELS = 255.0  # the preprocessors take bytes, advkit's images are in [0, 1]


def preprocessing(config: Mapping[str, Any], channels: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `mean`, `std` and `input_shape` such that `(x - mean) / std` is the network's input for x in [0, 1].

    A preprocessor multiplies bytes by `rescale_factor` (1/255), subtracts the mean and divides by the deviation.

    Args:
        config: the object in preprocessor_config.json.
        channels: number of channels of the images.
        given: `mean`, `std` and `input_shape` of the caller, which override the file's.

    Raises:
        InputError: the config lacks valid numbers, and the caller gives none.
    """
    scale = LEVELS * _factor(config)
    means, stds = _statistics(config, channels, complete="mean" in given and "std" in given)
    if config.get("rescale_offset"):  # EfficientNet's: the range becomes -1 to 1 before the statistics
        means = [mean + 1 for mean in means]
    found = {"mean": tuple(m / scale for m in means), "std": tuple(s / scale for s in stds)}
    return {**found, "input_shape": _shape(config, channels), **given}


def flips_channels(config: Mapping[str, Any]) -> bool:
    """Return whether the network takes blue before red, as MobileViT does."""
    return bool(config.get("do_flip_channel_order", False))


def _factor(config: Mapping[str, Any]) -> float:
    factor = config.get("rescale_factor", 1 / LEVELS)
    if not config.get("do_rescale", True):
        return 1.0
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise InputError(f"expected rescale_factor above 0 in preprocessor_config.json, got {factor!r}")
    return float(factor)


def _statistics(config: Mapping[str, Any], channels: int, *, complete: bool) -> tuple[list[float], list[float]]:
    if complete or not config.get("do_normalize", True):
        return [0.0] * channels, [1.0] * channels
    mean, std = (_numbers(config.get(key), channels) for key in ("image_mean", "image_std"))
    if mean is None or std is None or not all(s > 0 for s in std):
        raise InputError(
            f"preprocessor_config.json states no image_mean and image_std of {channels} channels: give mean= and std="
        )
    if config.get("include_top"):  # EfficientNet's: divided by the deviation a second time
        std = [s * s for s in std]
    return mean, std


def _numbers(value: Any, channels: int) -> list[float] | None:
    values = [value] * channels if isinstance(value, int | float) else value
    if not isinstance(values, list) or len(values) not in (1, channels):
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        return None
    return [float(v) for v in values] * (channels // len(values) if len(values) == 1 else 1)


def _shape(config: Mapping[str, Any], channels: int) -> tuple[int, int, int] | None:
    """The size after the last cut, or after the resizing where nothing is cut."""
    cut = config.get("do_center_crop", "crop_size" in config) and config.get("crop_size") is not None
    size = config.get("crop_size") if cut else config.get("size")
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = (size.get("height", edge), size.get("width", edge))
    sides = (size, size) if isinstance(size, int) else size
    if not isinstance(sides, list | tuple) or len(sides) != 2:
        return None
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
        return None
    return (channels, *sides)
