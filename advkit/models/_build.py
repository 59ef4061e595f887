"""Helpers of the networks: scaled widths, the limit of small images, sizes by a dry run, He's initialisation."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.core.errors import InputError, unknown

Shape = tuple[int, int, int]
SMALL = 64  # below this many pixels on the shorter side a network gets its stem and head for small images


def scaled(size: int, width: float, *, multiple: int = 1) -> int:
    """Return `size * width` rounded to a multiple, at least one multiple: scaled(64, 0.25) is 16."""
    return max(1, round(size * width / multiple)) * multiple


def is_small(input_shape: Shape) -> bool:
    """Return whether images (C, H, W) have fewer than 64 pixels on the shorter side."""
    return min(input_shape[1:]) < SMALL


def output_shape(module: nn.Module, input_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of one output without the batch, found by a pass in eval mode that draws no random numbers.

    Raises:
        InputError: the images are too small for the network.
    """
    modes = [(part, part.training) for part in module.modules()]
    device = next((p.device for p in module.parameters()), None)
    module.eval()
    try:
        with torch.no_grad():
            output: Tensor = module(torch.zeros(1, *input_shape, device=device))
    except RuntimeError as error:
        shape = "x".join(map(str, input_shape[1:]))
        raise InputError(
            f"images of {shape} are too small for this network: expected larger ones (pad or resize)"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    return tuple(output.shape[1:])


class PoolTo(nn.Module):
    """Average pooling to a fixed size (H, W), so that other image sizes can be tested; the identity at that size."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, h, w) -> (N, C, H, W)."""
        return x if x.shape[2:] == self.size else F.adaptive_avg_pool2d(x, self.size)

    def extra_repr(self) -> str:
        """The size."""
        return f"{self.size[0]}x{self.size[1]}"


def head(inputs: int, units: int, num_classes: int, dropout: float) -> nn.Sequential:
    """The three fully connected layers of AlexNet, ZFNet and VGG, with dropout after the hidden ones."""
    return nn.Sequential(
        nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(units, units), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(units, num_classes),
    )  # fmt: skip


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def activated(net: nn.Module, activation: str) -> None:
    """Replace every rectifier by another activation, and initialise the weights by Glorot's rule.

    Raises:
        InputError: there is no such activation.
    """
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if activation == "relu":
        return
    for module in list(net.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, nn.ReLU):
                setattr(module, name, ACTIVATIONS[activation]())
    glorot_(net)


def glorot_(net: nn.Module) -> None:
    """Initialise every layer for sigmoid and tanh: uniform weights of variance 2 / (inputs + outputs)."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)


def he_(net: nn.Module, *, logits: bool = True) -> None:
    """Initialise every layer for rectifiers: weights N(0, 2 / inputs), biases 0 (He et al. 2015, arXiv 1502.01852).

    With `logits` the last layer, which no rectifier follows, gets a tenth of that: the initial loss is near ln K.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    if logits:
        with torch.no_grad():
            layers[-1].weight.mul_(0.1)
