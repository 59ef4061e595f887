"""Small random networks of every piecewise linear layer, with the weights that certifiers find hard."""

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn

K = 3
SCALES = (1.0, 1.0, 1.0, 1e-6, 1e6, 1e-3, 1e3)


class Sum(nn.Module):
    """The input plus what a body makes of it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, z: Tensor) -> Tensor:
        return z + self.body(z)


class Both(nn.Module):
    """Two branches side by side, and one of them again, scaled and shifted."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.one, self.other = one, other

    def forward(self, z: Tensor) -> Tensor:
        a, b = self.one(z), self.other(z)
        return torch.cat([a, b, 0.5 * b - 0.25], 1)


class Maxout(nn.Module):
    """The largest of each pair or triple of linear maps."""

    def __init__(self, inputs: int, outputs: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.pieces = nn.Linear(inputs, outputs * pieces), pieces

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).unflatten(1, (-1, self.pieces)).amax(2)


def batch_norm(c: int) -> nn.Module:
    norm = nn.BatchNorm2d(c)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.2, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


IMAGE: dict[str, Callable[[int], list[nn.Module]]] = {
    "convolution": lambda c: [nn.Conv2d(c, 2, (2, 3)), nn.ReLU()],
    "padded": lambda c: [nn.Conv2d(c, 1, 2, padding=1), nn.ReLU()],
    "strided": lambda c: [nn.Conv2d(c, 3, 3, stride=2, padding=1), nn.ReLU()],
    "groups": lambda c: [nn.Conv2d(c, 2 * c, 3, padding=1, groups=c), nn.ReLU()],
    "dilated": lambda c: [nn.Conv2d(c, 1, 2, dilation=2, padding=1), nn.ReLU()],
    "transposed": lambda c: [nn.ConvTranspose2d(c, 1, 2, padding=1), nn.ReLU()],
    "batch norm": lambda c: [batch_norm(c), nn.ReLU()],
    "sum": lambda c: [Sum(nn.Sequential(nn.Conv2d(c, 1, 3, padding=1), nn.ReLU(), nn.Conv2d(1, c, 1)))],
    "concatenation": lambda c: [Both(nn.Sequential(nn.Conv2d(c, 1, 3, padding=1), nn.ReLU()), nn.Conv2d(c, 1, 1))],
    "rectified pooling": lambda c: [nn.Conv2d(c, 1, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2)],
    "pooling": lambda c: [nn.Conv2d(c, 1, 2, padding=1), nn.MaxPool2d(2, 1)],
    "pooling over the edge": lambda c: [nn.MaxPool2d(2, 2, 1, ceil_mode=True)],
    "average pooling": lambda c: [nn.AvgPool2d(2, 1, padding=1)],
    "dropout": lambda c: [nn.Dropout(0.4)],
}
FLAT: dict[str, Callable[[int], list[nn.Module]]] = {
    "linear": lambda n: [nn.Linear(n, 4), nn.ReLU()],
    "two linear": lambda n: [nn.Linear(n, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()],
    "pairs": lambda n: [Maxout(n, 3, 2)],
    "triples": lambda n: [Maxout(n, 3, 3)],
    "rectified triples": lambda n: [Maxout(n, 3, 3), nn.ReLU()],
    "leaky": lambda n: [nn.Linear(n, 4), nn.LeakyReLU(0.2)],
    "clamp": lambda n: [nn.Linear(n, 3), nn.ReLU6()],
    "flat sum": lambda n: [nn.Linear(n, 4), Sum(nn.Sequential(nn.ReLU(), nn.Linear(4, 4)))],
}


def shape_after(layers: list[nn.Module], shape: tuple[int, ...]) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[1:])


def network_of(kinds: list[str], shape: tuple[int, int, int], seed: int, *, hard: bool = False) -> nn.Sequential:
    """Return a network of these layers in float64, in eval mode.

    Args:
        kinds: names in IMAGE, then names in FLAT.
        shape: shape (C, H, W) of the images.
        seed: seed of the weights.
        hard: whether some layers are dead, saturated, copied, sparse, zero or of another scale.
    """
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for kind in (k for k in kinds if k in IMAGE):
        layers += IMAGE[kind](shape_after(layers, shape)[0])
    layers.append(nn.Flatten())
    for kind in (k for k in kinds if k in FLAT):
        layers += FLAT[kind](shape_after(layers, shape)[0])
    layers.append(nn.Linear(shape_after(layers, shape)[0], K))
    net, r = nn.Sequential(*layers).double().eval(), random.Random(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias, std=0.5)
                if hard:
                    spoil(module, r)
    return net


def spoil(module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, r: random.Random) -> None:
    assert module.bias is not None
    draw = r.random()
    if draw < 0.1:
        scale = r.choice(SCALES)
        module.weight.mul_(scale)
        module.bias.mul_(scale)
    elif draw < 0.3:
        module.bias[0] = -100.0 if draw < 0.2 else 100.0
    elif draw < 0.4 and isinstance(module, nn.Linear):
        module.weight[1], module.bias[1] = module.weight[0], module.bias[0]
    elif draw < 0.5:
        module.weight[torch.rand_like(module.weight) < 0.5] = 0
    elif draw < 0.55:
        module.weight.zero_()
    elif draw < 0.6:
        module.bias.zero_()
