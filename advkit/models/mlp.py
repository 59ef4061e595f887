"""Fully connected networks: 784-800-800-10 of the dropout and DropConnect papers."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from advkit.core.errors import unknown
from advkit.models._build import Shape, he_, scaled
from advkit.models._registry import register_model
from advkit.models.layers import DropConnectLinear

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def perceptron(
    sizes: Sequence[int], activation: str, *, dropout: float, linear: Callable[[int, int], nn.Linear] = nn.Linear
) -> nn.Sequential:
    """Hidden layers of those sizes, each followed by its activation and dropout, then a linear layer.

    He's initialisation for rectifiers, Glorot's for sigmoid and tanh.
    """
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    net = nn.Sequential(nn.Flatten())
    for i, (inputs, outputs) in enumerate(pairwise(sizes[:-1]), start=1):
        net.add_module(f"hidden{i}", linear(inputs, outputs))
        net.add_module(f"{activation}{i}", ACTIVATIONS[activation]())
        if dropout:
            net.add_module(f"dropout{i}", nn.Dropout(dropout))
    net.add_module("output", nn.Linear(sizes[-2], sizes[-1]))
    he_(net)
    for layer in net.modules():
        if activation != "relu" and isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
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
) -> nn.Sequential:
    """784-800-800-10: 1,276,810 parameters.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        hidden: numbers of units of the hidden layers, before `width`.
        activation: activation of the hidden units: "relu", "sigmoid" or "tanh".
        dropout: probability of dropping a hidden unit in training (the papers' p is that of keeping it).
    """
    sizes = [math.prod(input_shape), *(scaled(n, width) for n in hidden), num_classes]
    return perceptron(sizes, activation, dropout=dropout)


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
) -> nn.Sequential:
    """784-800-800-10 that drops connections in the hidden layers: 1,276,810 parameters.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        hidden: numbers of units of the hidden layers, before `width`.
        activation: activation of the hidden units: "relu", "sigmoid" or "tanh".
        dropconnect: probability of dropping a weight in training.
    """
    linear = partial(DropConnectLinear, p=dropconnect)
    sizes = [math.prod(input_shape), *(scaled(n, width) for n in hidden), num_classes]
    return perceptron(sizes, activation, dropout=0.0, linear=linear)
