"""The spatial transformer networks for distorted MNIST and MNIST addition.

Jaderberg et al. 2015, sec. 4.1 and appendix A.1, arXiv 1506.02025.
"""

import math
from collections.abc import Callable

from torch import nn

from advkit.core.errors import InputError
from advkit.models._build import Shape, he_, output_shape, scaled
from advkit.models._registry import register_model
from advkit.models.spatial_transformer import ParallelTransformers, SpatialTransformer

_PAPER = "Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial transformer networks"


def fcn(input_shape: Shape, num_classes: int, width: float) -> nn.Sequential:
    """Return the FCN: two hidden layers of 256."""
    units = scaled(256, width)
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), units), nn.ReLU(),
        nn.Linear(units, units), nn.ReLU(),
        nn.Linear(units, num_classes),
    )  # fmt: skip
    he_(net)
    return net


def cnn(input_shape: Shape, num_classes: int, width: float) -> nn.Sequential:
    """Return the CNN: 32 maps of 9x9 and 64 of 7x7, each with max pooling, and a linear classifier."""
    a, b = scaled(32, width), scaled(64, width)
    net = nn.Sequential(
        nn.Conv2d(input_shape[0], a, 9, padding=4), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(a, b, 7, padding=3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
    )  # fmt: skip
    net.append(nn.Linear(output_shape(net, input_shape)[0], num_classes))
    he_(net)
    return net


def localise_fully_connected(input_shape: Shape, width: float) -> tuple[nn.Sequential, int]:
    """Three layers of 32 units; (network, number of its outputs)."""
    units = scaled(32, width)
    net = nn.Sequential(nn.Flatten())
    for inputs in (math.prod(input_shape), units, units):
        net.extend([nn.Linear(inputs, units), nn.ReLU()])
    he_(net, logits=False)
    return net, units


def localise_convolutional(input_shape: Shape, width: float) -> tuple[nn.Sequential, int]:
    """Twice 20 maps of 5x5 with max pooling, then 50 units; (network, number of its outputs)."""
    maps, units = scaled(20, width), scaled(50, width)
    net = nn.Sequential(
        nn.Conv2d(input_shape[0], maps, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(maps, maps, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
    )  # fmt: skip
    net.extend([nn.Linear(output_shape(net, input_shape)[0], units), nn.ReLU()])
    he_(net, logits=False)
    return net, units


Localiser = Callable[[Shape, float], tuple[nn.Sequential, int]]
Network = Callable[[Shape, int, float], nn.Sequential]


def _assemble(
    classifier: Network,
    localiser: Localiser,
    *,
    input_shape: Shape,
    num_classes: int,
    width: float,
    transform: str,
    sampler: str,
    transformers: int,
    crop: int | None,
) -> nn.Sequential:
    """Transformers side by side, and the classifier on what they hand on; the classifier alone if transform is "none".

    Raises:
        InputError: a number of transformers or a crop below 1.
    """
    for name, value in (("transformers", transformers), ("crop", 1 if crop is None else crop)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"expected {name} as a whole number of 1 or more, got {value!r}")
    if transform == "none":
        return classifier(input_shape, num_classes, width)
    channels, *side = input_shape
    size = (side[0], side[1]) if crop is None else (crop, crop)
    branches = [
        SpatialTransformer(*localiser(input_shape, width), size, transform=transform, sampler=sampler)
        for _ in range(transformers)
    ]
    net = nn.Sequential()
    net.add_module("transformer", branches[0] if transformers == 1 else ParallelTransformers(branches))
    net.add_module("classifier", classifier((channels * transformers, *size), num_classes, width))
    return net


@register_model("stn_fcn", paper=_PAPER, year=2015, parameters=None)
def stn_fcn(
    *,
    input_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    width: float = 1.0,
    transform: str = "affine",
    sampler: str = "bilinear",
    transformers: int = 1,
    crop: int | None = None,
) -> nn.Sequential:
    """ST-FCN: a spatial transformer in front of the FCN. The paper leaves the layer sizes open; these are ours.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the layer widths.
        transform: kind of transformation: "affine", "attention", "projective" or "tps"; "none" gives the FCN alone.
        sampler: kind of sampling: "bilinear" or "nearest".
        transformers: number of transformers side by side; the FCN sees the outputs of all, stacked as channels.
        crop: side of the transformers' output in pixels; default: the size of the images.
    """
    return _assemble(
        fcn, localise_fully_connected, input_shape=input_shape, num_classes=num_classes, width=width,
        transform=transform, sampler=sampler, transformers=transformers, crop=crop,
    )  # fmt: skip


@register_model("stn_cnn", paper=_PAPER, year=2015, parameters=None)
def stn_cnn(
    *,
    input_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    width: float = 1.0,
    transform: str = "affine",
    sampler: str = "bilinear",
    transformers: int = 1,
    crop: int | None = None,
) -> nn.Sequential:
    """ST-CNN: a spatial transformer in front of the CNN. The paper leaves the layer sizes open; these are ours.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the layer widths.
        transform: kind of transformation: "affine", "attention", "projective" or "tps"; "none" gives the CNN alone.
        sampler: kind of sampling: "bilinear" or "nearest".
        transformers: number of transformers side by side; the CNN sees the outputs of all, stacked as channels.
        crop: side of the transformers' output in pixels; default: the size of the images.
    """
    return _assemble(
        cnn, localise_convolutional, input_shape=input_shape, num_classes=num_classes, width=width,
        transform=transform, sampler=sampler, transformers=transformers, crop=crop,
    )  # fmt: skip
