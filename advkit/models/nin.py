"""Network in network. Lin, Chen, Yan: Network in network, 2013, arXiv 1312.4400."""

import math

from torch import Tensor, nn

from advkit.core.door import check_between
from advkit.core.errors import unknown
from advkit.models._build import Shape, activated, he_, output_shape, scaled
from advkit.models._registry import register_model

HEADS = ("average", "connected")


def mlpconv(inputs: int, maps: tuple[int, int, int], kernel: int, *, last_rectified: bool = True) -> nn.Sequential:
    """Return a convolution and two 1x1 convolutions: a small perceptron slid over the image (cascaded pooling)."""
    a, b, c = maps
    block = nn.Sequential(
        nn.Conv2d(inputs, a, kernel, padding=kernel // 2), nn.ReLU(),
        nn.Conv2d(a, b, 1), nn.ReLU(),
        nn.Conv2d(b, c, 1),
    )  # fmt: skip
    return block.append(nn.ReLU()) if last_rectified else block


class NIN(nn.Module):
    """Three mlpconv blocks, pooling and dropout between them, and global average pooling: one map a class.

    It takes images of any size. The logits are not rectified (a class whose map is zero everywhere would have no
    gradient). He's initialisation. With the head "connected" a fully connected layer takes the place of the average
    (section 4.6), over rectified maps; then images have one size.
    """

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        width: float,
        dropout: float,
        activation: str,
        head: str,
        head_dropout: float,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise unknown("head", head, HEADS)
        connected = head == "connected"
        check_between("head_dropout", head_dropout, 0, 1)
        m160, m96, m192 = (scaled(n, width) for n in (160, 96, 192))
        self.features = nn.Sequential(  # at 32 pixels:
            mlpconv(input_shape[0], (m192, m160, m96), 5),  # 96 maps of 32x32
            nn.MaxPool2d(3, 2, padding=1), nn.Dropout(dropout),  # 16x16
            mlpconv(m96, (m192, m192, m192), 5),  # 192 maps
            nn.MaxPool2d(3, 2, padding=1), nn.Dropout(dropout),  # 8x8
            mlpconv(m192, (m192, m192, num_classes), 3, last_rectified=connected),  # one map a class
        )  # fmt: skip
        self.avgpool = nn.Identity() if connected else nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential()
        if connected:
            inputs = math.prod(output_shape(self.features, input_shape))
            self.classifier.extend([nn.Dropout(head_dropout), nn.Linear(inputs, num_classes)])
        he_(self)
        activated(self, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> logits (N, K)."""
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


@register_model("nin", paper="Lin, Chen, Yan: Network in network", year=2013, parameters=966_986, small_width=1 / 2)
def nin(
    *,
    input_shape: Shape = (3, 32, 32),
    num_classes: int = 10,
    width: float = 1.0,
    dropout: float = 0.5,
    activation: str = "relu",
    head: str = "average",
    head_dropout: float = 0.0,
) -> NIN:
    """Return the paper's CIFAR-10 network: 966,986 parameters.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        dropout: probability of dropping a map between the blocks.
        activation: "relu", "tanh" or "sigmoid".
        head: what makes logits of the last block's maps: "average", global average pooling, or "connected", a fully
            connected layer over all their pixels.
        head_dropout: probability of dropping an input of the connected head.
    """
    return NIN(input_shape, num_classes, width, dropout, activation, head, head_dropout)
