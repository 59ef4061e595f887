"""Maxout. Goodfellow, Warde-Farley, Mirza, Courville, Bengio: Maxout networks, 2013, arXiv 1302.4389."""

import math

import torch
from torch import nn

from advkit.core.door import check_count
from advkit.models._build import Shape, output_shape, scaled
from advkit.models._registry import register_model
from advkit.models.layers import Maxout, MaxoutConv2d


@register_model(
    "maxout",
    paper="Goodfellow, Warde-Farley, Mirza, Courville, Bengio: Maxout networks",
    year=2013,
    parameters=1_233_610,
    small_width=2 / 3,
)
def maxout(
    *,
    input_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    width: float = 1.0,
    units: int = 240,
    pieces: int = 5,
    input_dropout: float = 0.2,
    dropout: float = 0.5,
) -> nn.Sequential:
    """784-240x5-240x5-10, the victim of Goodfellow's FGSM: 1,233,610 parameters.

    Weights start from N(0, 1 / inputs), where the maximum of five pieces keeps the scale of its input; the output layer
    at a tenth of that.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        units: numbers of maxout units of the hidden layers, before `width`.
        pieces: number of affine functions under each unit's maximum.
        input_dropout, dropout: probabilities of dropping an input and a hidden unit.
    """
    hidden = scaled(check_count("units", units), width)
    net = nn.Sequential()
    net.add_module("flatten", nn.Flatten())
    net.add_module("dropout0", nn.Dropout(input_dropout))
    net.add_module("hidden1", Maxout(math.prod(input_shape), hidden, pieces=pieces))
    net.add_module("dropout1", nn.Dropout(dropout))
    net.add_module("hidden2", Maxout(hidden, hidden, pieces=pieces))
    net.add_module("dropout2", nn.Dropout(dropout))
    output = nn.Linear(hidden, num_classes)
    net.add_module("output", output)
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features))
            nn.init.zeros_(layer.bias)
    with torch.no_grad():
        output.weight.mul_(0.1)
    return net


@register_model(
    "maxout_cnn",
    paper="Goodfellow, Warde-Farley, Mirza, Courville, Bengio: Maxout networks",
    year=2013,
    parameters=None,
    small_width=1 / 2,
)
def maxout_cnn(
    *,
    input_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    width: float = 1.0,
    pieces: int = 2,
    input_dropout: float = 0.2,
    dropout: float = 0.5,
) -> nn.Sequential:
    """Three convolutional maxout layers with max pooling and a linear layer (sec. 4.1), .45 % on MNIST in the paper.

    The paper leaves the sizes open: 48, 48 and 24 maps of 8x8, 8x8 and 5x5 as in the authors' published code, quoted
    from memory; the paddings are ours.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the widths of the layers.
        pieces: convolutions under each map's maximum; the third layer has twice as many.
        input_dropout, dropout: probability of dropping an input, and an activation between the layers.
    """
    a, b = scaled(48, width), scaled(24, width)
    net = nn.Sequential()
    net.add_module("dropout0", nn.Dropout(input_dropout))
    net.add_module("conv1", MaxoutConv2d(input_shape[0], a, 8, padding=3, pieces=pieces))
    net.add_module("pool1", nn.MaxPool2d(4, 2, padding=1))
    net.add_module("dropout1", nn.Dropout(dropout))
    net.add_module("conv2", MaxoutConv2d(a, a, 8, padding=3, pieces=pieces))
    net.add_module("pool2", nn.MaxPool2d(4, 2, padding=1))
    net.add_module("dropout2", nn.Dropout(dropout))
    net.add_module("conv3", MaxoutConv2d(a, b, 5, padding=2, pieces=2 * pieces))
    net.add_module("pool3", nn.MaxPool2d(2, ceil_mode=True))
    net.add_module("dropout3", nn.Dropout(dropout))
    net.add_module("flatten", nn.Flatten())
    net.add_module("output", nn.Linear(math.prod(output_shape(net, input_shape)), num_classes))
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.weight[0].numel()))
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        net.output.weight.mul_(0.1)  # type: ignore[operator, union-attr]
    return net
