"""The papers, one table or group of tables a file; importing this package registers them."""

from advkit.reproduction.papers import (
    deep_image,
    goodfellow_logistic,
    goodfellow_maxout,
    goodfellow_rbf,
    imagenet_crops,
    jaderberg_colocalisation,
    jaderberg_transformers,
    krizhevsky_rectifiers,
    lin_nin,
    srivastava_dropout,
    szegedy_distortion,
    szegedy_hidden,
    szegedy_transfer,
    wan_dropconnect,
)

__all__ = [
    "deep_image",
    "goodfellow_logistic",
    "goodfellow_maxout",
    "goodfellow_rbf",
    "imagenet_crops",
    "jaderberg_colocalisation",
    "jaderberg_transformers",
    "krizhevsky_rectifiers",
    "lin_nin",
    "srivastava_dropout",
    "szegedy_distortion",
    "szegedy_hidden",
    "szegedy_transfer",
    "wan_dropconnect",
]
