"""ZFNet. Zeiler, Fergus: Visualizing and understanding convolutional networks, 2013, fig. 3, arXiv 1311.2901."""

import math

from torch import Tensor, nn

from advkit.models._build import PoolTo, Shape, activated, he_, head, is_small, output_shape, scaled
from advkit.models._registry import register_model
from advkit.models.layers import LRN


class ZFNet(nn.Module):
    """AlexNet with 7x7 filters of stride 2 in front and no groups; normalisation after pooling. He's initialisation.

    Below 64 pixels the first two convolutions have stride 1, pooling keeps the border (32 -> 16 -> 8 -> 4), and the
    fully connected layers have a quarter of the units.
    """

    def __init__(self, input_shape: Shape, num_classes: int, width: float, dropout: float, activation: str) -> None:
        super().__init__()
        small = is_small(input_shape)
        c1, c2, c3, c4, c5 = (scaled(n, width) for n in (96, 256, 384, 384, 256))
        stride, pad1, pad2, edge = (1, 3, 2, 1) if small else (2, 1, 0, 0)
        self.features = nn.Sequential(  # at 224 pixels:
            nn.Conv2d(input_shape[0], c1, 7, stride, padding=pad1), nn.ReLU(),  # 96 maps of 110x110
            nn.MaxPool2d(3, 2, padding=1), LRN(),  # 55x55
            nn.Conv2d(c1, c2, 5, stride, padding=pad2), nn.ReLU(),  # 256 maps of 26x26
            nn.MaxPool2d(3, 2, padding=1), LRN(),  # 13x13
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),  # 384
            nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU(),  # 384
            nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(),  # 256
            nn.MaxPool2d(3, 2, padding=edge),  # 6x6
        )  # fmt: skip
        size = output_shape(self.features, input_shape)
        self.avgpool = PoolTo((size[1], size[2]))
        self.classifier = head(math.prod(size), scaled(1024 if small else 4096, width), num_classes, dropout)
        he_(self)
        activated(self, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> logits (N, K)."""
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


@register_model(
    "zfnet",
    paper="Zeiler, Fergus: Visualizing and understanding convolutional networks",
    year=2013,
    parameters=62_357_608,
    small_width=1 / 4,
)
def zfnet(
    *,
    input_shape: Shape = (3, 224, 224),
    num_classes: int = 1000,
    width: float = 1.0,
    dropout: float = 0.5,
    activation: str = "relu",
) -> ZFNet:
    """ZFNet: 62,357,608 parameters.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        dropout: probability of dropping a unit of the hidden fully connected layers.
        activation: "relu", "tanh" or "sigmoid".
    """
    return ZFNet(input_shape, num_classes, width, dropout, activation)
