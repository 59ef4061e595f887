"""The network of four layers for CIFAR-10 to which Krizhevsky et al. 2012 refers, as its published files define it.

Section 3.3 has no room to describe it, and points to the files of cuda-convnet: `layers-conv-local-13pct.cfg` without
response normalisation, `layers-conv-local-11pct.cfg` with it. Two layers share their weights between places, two do
not.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAPS, LOCAL_MAPS, SIDE = 64, 32, 24
"""Maps of the two kinds of layers, and the side of the crops that the network sees."""

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class LocallyConnected(nn.Module):
    """A layer of 3x3 windows, padded by 1, that has other weights at every place.

    Args:
        inputs: number of maps that it sees.
        maps: number of maps that it makes.
        side: side of the maps.
    """

    def __init__(self, inputs: int, maps: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.randn(side * side, maps, inputs * 9) * (2 / (inputs * 9)) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(maps, side * side))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, inputs, S, S) to (N, maps, S, S)."""
        windows = F.unfold(x, 3, padding=1)  # (N, inputs * 9, S * S)
        maps: Tensor = torch.einsum("nip,pmi->nmp", windows, self.weight) + self.bias
        return maps.view(len(x), -1, self.side, self.side)


def four_layers(
    *,
    input_shape: tuple[int, int, int] = (3, SIDE, SIDE),
    num_classes: int = 10,
    activation: str = "relu",
    lrn: bool = True,
    overlapping: bool = True,
) -> nn.Sequential:
    """Two convolutions of 5x5 with pooling, two locally connected layers of 3x3, and a linear classifier.

    Args:
        input_shape: shape (C, S, S) of the images; the paper's crops have 24 pixels.
        num_classes: number of classes.
        activation: "relu" or "tanh".
        lrn: whether responses are normalised after the convolutions.
        overlapping: whether windows of 3x3 are pooled at every second pixel, or windows of 2x2 side by side.
    """
    act, pool = ACTIVATIONS[activation], nn.MaxPool2d(3, 2, ceil_mode=True) if overlapping else nn.MaxPool2d(2, 2)
    net, inputs, side = nn.Sequential(), input_shape[0], input_shape[1]
    for _ in range(2):
        net.extend([nn.Conv2d(inputs, MAPS, 5, padding=2), act()])
        if lrn:
            net.append(nn.LocalResponseNorm(5, alpha=1e-3, beta=0.75, k=1.0))
        net.append(pool)
        inputs, side = MAPS, side // 2
    for maps in (MAPS, LOCAL_MAPS):
        net.extend([LocallyConnected(maps, LOCAL_MAPS, side), act()])
    net.extend([nn.Flatten(), nn.Linear(LOCAL_MAPS * side * side, num_classes)])
    return net
