"""Augmentations: functions of a batch and its random numbers, deterministic by seed and sample.

augment = Compose(parts=(RandomPatch(size=28), Mirror()))
x = augment(x, Draws(seed=0, sample_ids=ids), step=step)  # (N, C, 32, 32) -> (N, C, 28, 28)
model = ten_crop(model, size=28)  # at test time
"""

from advkit.training.augment._base import AUGMENTATIONS, Augmentation, Compose, Numbers
from advkit.training.augment._by_spec import create_augmentation, deep_image, list_augmentations
from advkit.training.augment.averaging import (
    CropAverage,
    googlenet_crops,
    googlenet_scales,
    multi_scale,
    ten_crop,
    vgg_scales,
)
from advkit.training.augment.colour import ColourCast, PCAColour, Vignette
from advkit.training.augment.crops import Mirror, RandomPatch, ScaleJitter
from advkit.training.augment.geometry import Affine, Elastic, RotateCrop, Stretch

__all__ = [
    "AUGMENTATIONS",
    "Affine",
    "Augmentation",
    "ColourCast",
    "Compose",
    "CropAverage",
    "Elastic",
    "Mirror",
    "Numbers",
    "PCAColour",
    "RandomPatch",
    "RotateCrop",
    "ScaleJitter",
    "Stretch",
    "Vignette",
    "create_augmentation",
    "deep_image",
    "googlenet_crops",
    "googlenet_scales",
    "list_augmentations",
    "multi_scale",
    "ten_crop",
    "vgg_scales",
]
