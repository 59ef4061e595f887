"""LeNet-5. LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998, sec. II.B."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.core.errors import unknown
from advkit.models._build import Shape, activated, he_, output_shape, scaled
from advkit.models._registry import register_model
from advkit.models.layers import FractionalMaxPool

# Table I: the S2 maps that each of the 16 C3 maps sees; 60 connections.
TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class TableConv2d(nn.Module):
    """A convolution whose output map j sees the input maps `table[j]` only; it holds one kernel a connection.

    Args:
        inputs: number of input maps.
        table: input maps that each output map sees.
        kernel_size: side of the kernels.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, inputs: int, table: tuple[tuple[int, ...], ...], kernel_size: int) -> None:
        super().__init__()
        self.shape = (len(table), inputs, kernel_size, kernel_size)
        connections = [(j, i) for j, seen in enumerate(table) for i in seen]
        self.weight = nn.Parameter(torch.empty(len(connections), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(len(table)))
        self.register_buffer("rows", torch.tensor([j for j, _ in connections]), persistent=False)
        self.register_buffer("columns", torch.tensor([i for _, i in connections]), persistent=False)
        for kernel, (j, _) in zip(self.weight.detach(), connections, strict=True):
            nn.init.normal_(kernel, std=math.sqrt(2 / (len(table[j]) * kernel_size**2)))  # He et al. 2015

    def forward(self, x: Tensor) -> Tensor:
        """x (N, inputs, H, W) -> (N, len(table), H - k + 1, W - k + 1)."""
        full = self.weight.new_zeros(self.shape).index_put((self.rows, self.columns), self.weight)
        return F.conv2d(x, full, self.bias)

    def extra_repr(self) -> str:
        """Maps and connections."""
        return f"{self.shape[1]}, {self.shape[0]}, kernel_size={self.shape[2:]}, connections={len(self.weight)}"


POOLS: dict[str, Callable[[], nn.Module]] = {
    "max": partial(nn.MaxPool2d, 2),
    "average": partial(nn.AvgPool2d, 2),
    "fractional": FractionalMaxPool,
}


class LeNet5(nn.Module):
    """C1 - S2 - C3 - S4 - F5 - F6 - output, with rectifiers and max pooling as in the lecture.

    F5 is the paper's C5, a convolution that covers its whole input. At another width than the paper's every C3 map
    sees every S2 map. He's initialisation.
    """

    def __init__(self, input_shape: Shape, num_classes: int, width: float, pool: str, activation: str) -> None:
        super().__init__()
        if pool not in POOLS:
            raise unknown("pool", pool, POOLS)
        maps = [scaled(n, width) for n in (6, 16, 120, 84)]
        table = TABLE if maps[:2] == [6, 16] else (tuple(range(maps[0])),) * maps[1]
        self.features = nn.Sequential()  # for 1x32x32:
        self.features.add_module("c1", nn.Conv2d(input_shape[0], maps[0], 5))  # 6x28x28, 156 parameters
        self.features.add_module("relu1", nn.ReLU())
        self.features.add_module("s2", POOLS[pool]())  # 6x14x14
        self.features.add_module("c3", TableConv2d(maps[0], table, 5))  # 16x10x10, 1,516 parameters
        self.features.add_module("relu3", nn.ReLU())
        self.features.add_module("s4", POOLS[pool]())  # 16x5x5
        flat = math.prod(output_shape(self.features, input_shape))
        self.classifier = nn.Sequential()
        self.classifier.add_module("f5", nn.Linear(flat, maps[2]))  # 48,120 parameters
        self.classifier.add_module("relu5", nn.ReLU())
        self.classifier.add_module("f6", nn.Linear(maps[2], maps[3]))  # 10,164
        self.classifier.add_module("relu6", nn.ReLU())
        self.classifier.add_module("output", nn.Linear(maps[3], num_classes))  # 850
        he_(self)
        activated(self, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> logits (N, K)."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


@register_model(
    "lenet5",
    paper="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86",
    year=1998,
    parameters=60_806,
)
def lenet5(
    *,
    input_shape: Shape = (1, 32, 32),
    num_classes: int = 10,
    width: float = 1.0,
    pool: str = "max",
    activation: str = "relu",
) -> LeNet5:
    """LeNet-5 with Table I's connections: 60,806 parameters.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the paper's layer widths.
        pool: "max", "average" (1998's subsampling without its coefficients), or "fractional" (by sqrt(2), so later
            layers are larger).
        activation: "relu", "tanh" or "sigmoid".
    """
    return LeNet5(input_shape, num_classes, width, pool, activation)
