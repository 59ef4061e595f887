"""Fully connected networks: 784-800-800-10 of the dropout and DropConnect papers."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from advkit.core.errors import unknown
from advkit.models._build import ACTIVATIONS, Shape, glorot_, he_, scaled
from advkit.models._registry import register_model
from advkit.models.layers import DropConnectLinear, MeanOfSamples


def perceptron(
    sizes: Sequence[int],
    activation: str,
    *,
    dropout: float,
    input_dropout: float = 0.0,
    linear: Callable[[int, int], nn.Linear] = nn.Linear,
    samples: int = 0,
) -> nn.Sequential:
    """Build hidden layers of these sizes, each followed by activation and dropout, then a linear layer.

    He's initialisation for rectifiers, Glorot's for sigmoid and tanh.
    """
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    net = nn.Sequential(nn.Flatten())
    if input_dropout:
        net.add_module("dropout0", nn.Dropout(input_dropout))
    for i, (inputs, outputs) in enumerate(pairwise(sizes[:-1]), start=1):
        net.add_module(f"hidden{i}", linear(inputs, outputs))
        net.add_module(f"{activation}{i}", ACTIVATIONS[activation]())
        if samples:
            net.add_module(f"mean{i}", MeanOfSamples())
        if dropout:
            net.add_module(f"dropout{i}", nn.Dropout(dropout))
    net.add_module("output", nn.Linear(sizes[-2], sizes[-1]))
    he_(net)
    if activation != "relu":
        glorot_(net)
    return net


@register_model(
    "mlp",
    paper="Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: Dropout, JMLR 15",
    year=2014,
    parameters=1_276_810,
    small_width=0.75,
)
def mlp(
    *,
    input_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    width: float = 1.0,
    hidden: tuple[int, ...] = (800, 800),
    activation: str = "relu",
    dropout: float = 0.5,
    input_dropout: float = 0.0,
) -> nn.Sequential:
    """784-800-800-10: 1,276,810 parameters.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        hidden: numbers of units of the hidden layers, before `width`.
        activation: activation of the hidden units: "relu", "sigmoid" or "tanh".
        dropout: probability of dropping a hidden unit in training (the papers' p is that of keeping it).
        input_dropout: probability of dropping a pixel in training; Srivastava et al. take 0.2.
    """
    sizes = [math.prod(input_shape), *(scaled(n, width) for n in hidden), num_classes]
    return perceptron(sizes, activation, dropout=dropout, input_dropout=input_dropout)


@register_model(
    "mlp_dropconnect",
    paper="Wan, Zeiler, Zhang, LeCun, Fergus: Regularization of neural networks using DropConnect",
    year=2013,
    parameters=1_276_810,
    small_width=0.75,
)
def mlp_dropconnect(
    *,
    input_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    width: float = 1.0,
    hidden: tuple[int, ...] = (800, 800),
    activation: str = "relu",
    dropconnect: float = 0.5,
    masks: str = "batch",
    samples: int = 0,
) -> nn.Sequential:
    """784-800-800-10 that drops connections in the hidden layers: 1,276,810 parameters.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        hidden: numbers of units of the hidden layers, before `width`.
        activation: activation of the hidden units: "relu", "sigmoid" or "tanh".
        dropconnect: probability of dropping a weight in training.
        masks: "batch", one mask a mini-batch, or "sample", one for every image as in the paper.
        samples: number of draws for each unit at test time (the paper: 1000); 0 takes the mean weights.
    """
    linear = partial(DropConnectLinear, p=dropconnect, masks=masks, samples=samples)
    sizes = [math.prod(input_shape), *(scaled(n, width) for n in hidden), num_classes]
    return perceptron(sizes, activation, dropout=0.0, linear=linear, samples=samples)
