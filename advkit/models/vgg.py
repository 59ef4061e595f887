"""VGG. Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition, arXiv 1409.1556."""

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from advkit.models._build import PoolTo, Shape, activated, he_, head, is_small, output_shape, scaled
from advkit.models._registry import register_model
from advkit.models.layers import LRN

# Table 1. A number: a 3x3 convolution to that many maps; "1x1": a 1x1 convolution to as many; "|": max pooling 2/2.
COLUMNS = {
    "vgg11":     "64     | 128     | 256 256         | 512 512         | 512 512         |",  # A
    "vgg11_lrn": "64 lrn | 128     | 256 256         | 512 512         | 512 512         |",  # A-LRN
    "vgg13":     "64 64  | 128 128 | 256 256         | 512 512         | 512 512         |",  # B
    "vgg16_1x1": "64 64  | 128 128 | 256 256 1x1     | 512 512 1x1     | 512 512 1x1     |",  # C
    "vgg16":     "64 64  | 128 128 | 256 256 256     | 512 512 512     | 512 512 512     |",  # D
    "vgg19":     "64 64  | 128 128 | 256 256 256 256 | 512 512 512 512 | 512 512 512 512 |",  # E
}  # fmt: skip
PARAMETERS = {
    "vgg11": 132_863_336,
    "vgg11_lrn": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16_1x1": 133_638_952,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
}


class VGG(nn.Module):
    """Five groups of 3x3 convolutions with max pooling, then FC-4096, FC-4096, FC-classes with dropout.

    Below 64 pixels the head is one linear layer, and pooling keeps an odd border (28 -> 14 -> 7 -> 4 -> 2 -> 1). The
    paper starts its deep columns from a trained A, which is unnecessary with He's initialisation. Parameter names are
    torchvision's (except for A-LRN and C).
    """

    def __init__(
        self,
        column: str,
        input_shape: Shape,
        num_classes: int,
        width: float,
        dropout: float,
        activation: str,
        dense: bool,
    ) -> None:
        super().__init__()
        self.dense = dense
        small = is_small(input_shape)
        self.features = convolutions(column, input_shape[0], width, ceil_mode=small)
        maps, *size = output_shape(self.features, input_shape)
        self.avgpool = PoolTo((size[0], size[1]))
        flat = maps * math.prod(size)
        self.classifier = (
            nn.Linear(flat, num_classes) if small else head(flat, scaled(4096, width), num_classes, dropout)
        )
        he_(self)
        activated(self, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> logits (N, K); with `dense` the mean of the map of scores."""
        maps = self.features(x)
        if self.dense and all(have >= want for have, want in zip(maps.shape[2:], self.avgpool.size, strict=True)):
            return self.scores(maps).mean(1)
        logits: Tensor = self.classifier(self.avgpool(maps).flatten(1))
        return logits

    def scores(self, maps: Tensor) -> Tensor:
        """Apply the head at every place of larger maps (N, C, h, w), as a convolution (sec. 3.2): (N, places, K)."""
        windows = F.unfold(maps, self.avgpool.size).transpose(1, 2)  # (N, places, C H W)
        found: Tensor = self.classifier(windows.flatten(0, 1)).unflatten(0, (len(maps), -1))
        return found


def convolutions(column: str, maps: int, width: float, *, ceil_mode: bool) -> nn.Sequential:
    """Build the convolutions of a column; each is followed by a rectifier."""
    layers: list[nn.Module] = []
    for item in COLUMNS[column].split():
        if item == "|":
            layers.append(nn.MaxPool2d(2, ceil_mode=ceil_mode))
        elif item == "lrn":
            layers.append(LRN())
        else:
            outputs, kernel = (maps, 1) if item == "1x1" else (scaled(int(item), width), 3)
            layers += [nn.Conv2d(maps, outputs, kernel, padding=kernel // 2), nn.ReLU()]
            maps = outputs
    return nn.Sequential(*layers)


_ARGS = """

    Args:
        dropout: probability of dropping a hidden unit of the head in training.
        activation: "relu", "tanh" or "sigmoid".
        dense: whether larger images are seen by the head at every place and the scores averaged (sec. 3.2); otherwise
            their maps are averaged to the head's size.
    """


def _facts(name: str, small_width: float = 1 / 4) -> dict[str, Any]:
    paper = "Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition"
    return {"paper": paper, "year": 2014, "parameters": PARAMETERS[name], "small_width": small_width}


def _column(name: str) -> Callable[..., VGG]:
    """The factory of one column of the table."""

    def vgg(
        *,
        input_shape: Shape = (3, 224, 224),
        num_classes: int = 1000,
        width: float = 1.0,
        dropout: float = 0.5,
        activation: str = "relu",
        dense: bool = False,
    ) -> VGG:
        return VGG(name, input_shape, num_classes, width, dropout, activation, dense)

    vgg.__doc__ = f"{name} of table 1: {COLUMNS[name]} FC-4096 FC-4096 FC-1000: {PARAMETERS[name]:,} parameters.{_ARGS}"
    return vgg


register_model("vgg11", **_facts("vgg11"))(_column("vgg11"))
register_model("vgg11_lrn", **_facts("vgg11_lrn"))(_column("vgg11_lrn"))
register_model("vgg13", **_facts("vgg13"))(_column("vgg13"))
register_model("vgg16_1x1", **_facts("vgg16_1x1"))(_column("vgg16_1x1"))
register_model("vgg16", **_facts("vgg16"))(_column("vgg16"))
register_model("vgg19", **_facts("vgg19", small_width=13 / 64))(_column("vgg19"))
