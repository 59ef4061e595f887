"""AlexNet. Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, 2012."""

import math

from torch import Tensor, nn

from advkit.models._build import PoolTo, Shape, activated, he_, head, is_small, output_shape, scaled
from advkit.models._registry import register_model
from advkit.models.layers import LRN


class AlexNet(nn.Module):
    """Five convolutions, three of them in two groups, local response normalisation, overlapping pooling, three FCs.

    Below 64 pixels the first convolution is 5x5 with stride 1, pooling keeps the border (32 -> 16 -> 8 -> 4), and the
    fully connected layers have a quarter of the units. At the paper's size the weights start as in the paper; its
    N(0, sd .01) is too small for layers with fewer inputs, so smaller networks start by He's rule.
    """

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        width: float,
        dropout: float,
        activation: str,
        lrn: bool,
        overlapping: bool,
    ) -> None:
        super().__init__()
        small = is_small(input_shape)
        c1, c2, c3, c4, c5 = (scaled(n, width, multiple=2) for n in (96, 256, 384, 384, 256))
        edge = 1 if small else 0

        def normalized() -> nn.Module:
            return LRN() if lrn else nn.Identity()

        def pooled() -> nn.Module:
            return nn.MaxPool2d(3, 2, padding=edge) if overlapping else nn.MaxPool2d(2, ceil_mode=small)

        first = (
            nn.Conv2d(input_shape[0], c1, 5, padding=2) if small else nn.Conv2d(input_shape[0], c1, 11, 4, padding=2)
        )
        self.features = nn.Sequential(  # at 224 pixels:
            first, nn.ReLU(), normalized(), pooled(),  # 96 maps of 55x55 -> 27x27
            nn.Conv2d(c1, c2, 5, padding=2, groups=2), nn.ReLU(), normalized(), pooled(),  # 256: 13x13
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),  # 384, sees both groups
            nn.Conv2d(c3, c4, 3, padding=1, groups=2), nn.ReLU(),  # 384
            nn.Conv2d(c4, c5, 3, padding=1, groups=2), nn.ReLU(), pooled(),  # 256 -> 6x6
        )  # fmt: skip
        size = output_shape(self.features, input_shape)
        self.avgpool = PoolTo((size[1], size[2]))
        self.classifier = head(math.prod(size), scaled(1024 if small else 4096, width), num_classes, dropout)
        if small or width < 1:
            he_(self)
        else:
            _as_in_the_paper_(self)
        activated(self, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> logits (N, K)."""
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


def _as_in_the_paper_(net: AlexNet) -> None:
    """Sec. 5: weights N(0, sd .01); bias 1 in conv 2, 4, 5 and in the hidden fully connected layers, 0 elsewhere."""
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for number, layer in enumerate(layers, start=1):
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.constant_(layer.bias, 1.0 if number in (2, 4, 5, 6, 7) else 0.0)


@register_model(
    "alexnet",
    paper="Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks",
    year=2012,
    parameters=60_965_224,
    small_width=9 / 32,
)
def alexnet(
    *,
    input_shape: Shape = (3, 224, 224),
    num_classes: int = 1000,
    width: float = 1.0,
    dropout: float = 0.5,
    activation: str = "relu",
    lrn: bool = True,
    overlapping: bool = True,
) -> AlexNet:
    """AlexNet with its two groups: 60,965,224 parameters (torchvision's `alexnet` is another network).

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        dropout: probability of dropping a unit of the hidden fully connected layers.
        activation: "relu", "tanh" or "sigmoid".
        lrn: whether local response normalisation follows the first two convolutions.
        overlapping: whether windows of 3 pixels are pooled with stride 2, as in the paper; else windows of 2 pixels,
            which give maps of the same size.
    """
    return AlexNet(input_shape, num_classes, width, dropout, activation, lrn, overlapping)
