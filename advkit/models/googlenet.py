"""GoogLeNet. Szegedy, Liu, Jia, et al.: Going deeper with convolutions, 2014, table 1, arXiv 1409.4842."""

import torch
from torch import Tensor, nn

from advkit.core.errors import unknown
from advkit.models._build import PoolTo, Shape, he_, is_small, scaled
from advkit.models._registry import register_model
from advkit.models.layers import LRN

# Table 1, the columns #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj; "|": max pooling 3/2.
INCEPTIONS: dict[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),  # |
    "4a": (192, 96, 208, 16, 48, 64),  # first auxiliary classifier
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),  # second auxiliary classifier
    "4e": (256, 160, 320, 32, 128, 128),  # |
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
AUXILIARY_WEIGHT = 0.3
INCEPTION = ("reduced", "naive")


class Conv(nn.Conv2d):
    """A convolution that keeps the size, and a rectifier."""

    def __init__(self, inputs: int, maps: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, maps, kernel, stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, inputs, H, W) -> (N, maps, H / stride, W / stride)."""
        return super().forward(x).relu()


class NaiveInception(nn.Module):
    """Fig. 2a: 1x1, 3x3, 5x5 convolutions and max pooling side by side, their maps stacked."""

    def __init__(self, inputs: int, n1: int, n3: int, n5: int) -> None:
        super().__init__()
        self.conv1, self.conv3, self.conv5 = Conv(inputs, n1, 1), Conv(inputs, n3, 3), Conv(inputs, n5, 5)
        self.pool = nn.MaxPool2d(3, 1, padding=1)
        self.maps = n1 + n3 + n5 + inputs

    def forward(self, x: Tensor) -> Tensor:
        """x (N, inputs, H, W) -> (N, maps, H, W)."""
        return torch.cat([self.conv1(x), self.conv3(x), self.conv5(x), self.pool(x)], 1)


class Inception(nn.Module):
    """Fig. 2b: 1x1 | 1x1-3x3 | 1x1-5x5 | pool-1x1; the 1x1 in front of the larger ones reduces the number of maps."""

    def __init__(self, inputs: int, n1: int, r3: int, n3: int, r5: int, n5: int, proj: int) -> None:
        super().__init__()
        self.conv1 = Conv(inputs, n1, 1)
        self.reduce3, self.conv3 = Conv(inputs, r3, 1), Conv(r3, n3, 3)
        self.reduce5, self.conv5 = Conv(inputs, r5, 1), Conv(r5, n5, 5)
        self.pool, self.project = nn.MaxPool2d(3, 1, padding=1), Conv(inputs, proj, 1)
        self.maps = n1 + n3 + n5 + proj

    def forward(self, x: Tensor) -> Tensor:
        """x (N, inputs, H, W) -> (N, maps, H, W)."""
        branches = [self.conv1(x), self.conv3(self.reduce3(x)), self.conv5(self.reduce5(x)), self.project(self.pool(x))]
        return torch.cat(branches, 1)


def auxiliary(inputs: int, num_classes: int, width: float, input_shape: Shape) -> nn.Sequential:
    """A classifier on maps in the middle (sec. 5): average pooling 5/3, 1x1 to 128, FC-1024, dropout .7, FC-classes.

    Images below 224 pixels are pooled to the paper's 4x4 maps at once, those below 64 to 2x2.
    """
    maps, units = scaled(128, width), scaled(1024, width)
    side = 2 if is_small(input_shape) else 4
    pool = [nn.AvgPool2d(5, 3)] if min(input_shape[1:]) >= 224 else []
    return nn.Sequential(
        *pool, PoolTo((side, side)), Conv(inputs, maps, 1), nn.Flatten(),
        nn.Linear(maps * side * side, units), nn.ReLU(), nn.Dropout(0.7),
        nn.Linear(units, num_classes),
    )  # fmt: skip


def stem(inputs: int, n64: int, n192: int, *, small: bool) -> nn.Sequential:
    """Return the layers before the first Inception: 224 -> 28 pixels; small images are halved once, 32 -> 16."""
    net = nn.Sequential()
    if small:
        net.add_module("conv1", Conv(inputs, n64, 3))
    else:
        net.add_module("conv1", Conv(inputs, n64, 7, 2))  # 64 maps of 112x112
        net.add_module("pool1", nn.MaxPool2d(3, 2, padding=1))
    net.add_module("lrn1", LRN())
    net.add_module("reduce2", Conv(n64, n64, 1))
    net.add_module("conv2", Conv(n64, n192, 3))  # 192 maps of 56x56
    net.add_module("lrn2", LRN())
    net.add_module("pool2", nn.MaxPool2d(3, 2, padding=1))  # 28x28
    return net


class GoogLeNet(nn.Module):
    """Table 1: a stem, nine Inception modules, global average pooling, dropout .4, one linear layer.

    Only `training_logits` uses the auxiliary classifiers, with weight .3; `forward` never runs them, not even in train
    mode. Below 64 pixels a 3x3 convolution of stride 1 replaces the 7x7/2 and its pooling (32 -> 16 -> 8 -> 4).
    He's initialisation, which trains it without batch normalisation.
    """

    def __init__(
        self, input_shape: Shape, num_classes: int, width: float, dropout: float, auxiliaries: bool, inception: str
    ) -> None:
        super().__init__()
        if inception not in INCEPTION:
            raise unknown("inception", inception, INCEPTION)
        small = is_small(input_shape)
        maps = scaled(192, width)
        self.stem = stem(input_shape[0], scaled(64, width), maps, small=small)
        self.inceptions = nn.ModuleDict()
        self.auxiliary = nn.ModuleDict()
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        for name, row in INCEPTIONS.items():
            n1, r3, n3, r5, n5, proj = (scaled(n, width) for n in row)
            naive = inception == "naive"
            module = NaiveInception(maps, n1, n3, n5) if naive else Inception(maps, n1, r3, n3, r5, n5, proj)
            self.inceptions[name] = module
            maps = module.maps
            if auxiliaries and name in ("4a", "4d"):
                self.auxiliary[name] = auxiliary(maps, num_classes, width, input_shape)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(maps, num_classes)
        )
        he_(self)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> logits (N, K)."""
        logits: Tensor = self.classifier(self._maps(x)["5b"])
        return logits

    def training_logits(self, x: Tensor) -> list[tuple[float, Tensor]]:
        """x (N, C, H, W) -> (weight, logits (N, K)) of the classifier and of its auxiliaries."""
        maps = self._maps(x)
        auxiliaries = [(AUXILIARY_WEIGHT, branch(maps[name])) for name, branch in self.auxiliary.items()]
        return [(1.0, self.classifier(maps["5b"])), *auxiliaries]

    def _maps(self, x: Tensor) -> dict[str, Tensor]:
        """The output of every Inception module."""
        x = self.stem(x)
        maps = {}
        for name, module in self.inceptions.items():
            x = self.pool(x) if name in ("4a", "5a") else x
            maps[name] = x = module(x)
        return maps


@register_model(
    "googlenet",
    paper="Szegedy et al.: Going deeper with convolutions",
    year=2014,
    parameters=6_998_552,
    auxiliary=6_379_728,
    small_width=1 / 4,
)
def googlenet(
    *,
    input_shape: Shape = (3, 224, 224),
    num_classes: int = 1000,
    width: float = 1.0,
    dropout: float = 0.4,
    auxiliaries: bool = True,
    inception: str = "reduced",
) -> GoogLeNet:
    """Return the paper's GoogLeNet with true 5x5 convolutions: 6,998,552 parameters, and 6,379,728 in the auxiliaries.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        dropout: probability of dropping in front of the classifier.
        auxiliaries: whether to build the two auxiliary classifiers, which serve training.
        inception: "reduced" (fig. 2b), or "naive" (fig. 2a, without 1x1 reductions: every module passes all its
            input maps on beside its own).
    """
    return GoogLeNet(input_shape, num_classes, width, dropout, auxiliaries, inception)
