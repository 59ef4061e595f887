"""Small classifiers for tests: sound ones, broken ones, and wrappers that watch or change a classifier."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from advkit.core.door import check_count, check_shape, generator

Transform = Callable[[Tensor], Tensor]


def _same(t: Tensor) -> Tensor:
    return t


class Toy(nn.Sequential):
    """A net whose repr is the call that makes it."""

    code = ""

    def __repr__(self) -> str:
        return f"{self.code}{'.train()' if self.training else ''}" if self.code else super().__repr__()


def _layers(input_shape: tuple[int, ...], classes: int, batch_norm: bool) -> Toy:
    if len(input_shape) == 3:
        first: list[nn.Module] = [nn.Conv2d(input_shape[0], 4, 3, padding=1)]
        norm: nn.Module = nn.BatchNorm2d(4)
        width = 4 * math.prod(input_shape[1:])
    else:
        first, width = [nn.Flatten(), nn.Linear(math.prod(input_shape), 12)], 12
        norm = nn.BatchNorm1d(12)
    return Toy(*first, *([norm] if batch_norm else []), nn.SiLU(), nn.Flatten(), nn.Linear(width, classes))


def toy_classifier(
    input_shape: tuple[int, ...] = (2, 4, 4),
    classes: int = 4,
    *,
    seed: int = 0,
    batch_norm: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Toy:
    """Make a smooth net with one hidden layer and random weights, in eval mode; torch's random state is not used.

    Args:
        input_shape: shape of one image; (C, H, W) gives a convolution, any other shape a fully connected layer.
        classes: number of classes, at least 2.
        seed: seed of the weights.
        batch_norm: whether batch norm lies between the layers, with running statistics unlike those of any batch.
        dtype: type of the weights.

    Raises:
        InputError: a number is outside its range, or none.
    """
    classes, source = check_count("classes", classes, least=2), generator(seed)
    input_shape = check_shape("input_shape", input_shape)
    with torch.random.fork_rng(devices=[]):  # layers draw weights when they are made; these are replaced
        net = _layers(input_shape, classes, batch_norm)
    with torch.no_grad():
        for name, value in [*net.named_parameters(), *net.named_buffers()]:
            if value.is_floating_point():
                spread = 2 / math.sqrt(value[0].numel()) if value.ndim > 1 else 0.2
                noise = torch.randn(value.shape, generator=source, dtype=torch.float64)
                value.copy_(1 + 0.3 * noise.abs() if name.endswith("var") else spread * noise)
                if value.ndim == 1 and batch_norm and name.endswith("weight"):
                    value.add_(1)
    options = [f"seed={seed}", *["batch_norm=True"] * batch_norm, *[f"dtype={dtype}"] * (dtype != torch.float64)]
    net.code = f"toy_classifier({tuple(input_shape)}, {classes}, {', '.join(options)})"
    made: Toy = net.to(dtype).eval()
    return made


class Wrapped(nn.Module):
    """A classifier with a function before and one after it; its repr is a call of `maker`, if that has a name."""

    def __init__(
        self, net: Callable[[Tensor], Tensor], *, before: Transform = _same, after: Transform = _same, maker: str = ""
    ) -> None:
        super().__init__()
        self.net, self.before, self.after, self.maker = net, before, after, maker

    def __repr__(self) -> str:
        return f"{self.maker}({self.net!r})" if self.maker else super().__repr__()

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, K)."""
        return self.after(self.net(self.before(x)))


class Spy(nn.Module):
    """A classifier that counts its passes.

    Args:
        net: the classifier to watch.

    Attributes:
        forwards: rows that were classified.
        backwards: rows for which a gradient with respect to the images was computed.
        asked: whether any forward pass was made with gradients on while a parameter required one.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.forwards = self.backwards = 0
        self.asked = False

    def __repr__(self) -> str:
        return f"Spy({self.net!r})"

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, K)."""
        self.forwards += len(x)
        self.asked |= torch.is_grad_enabled() and any(p.requires_grad for p in self.net.parameters())
        x = x.view_as(x)
        if x.requires_grad:
            x.register_hook(self._count)  # type: ignore[no-untyped-call, unused-ignore]
        logits: Tensor = self.net(x)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def nan_logits(net: nn.Module) -> Wrapped:
    """Make a classifier that returns NaN for every class.

    Args:
        net: the sound classifier, from images (N, C, H, W) to logits (N, K).
    """
    return Wrapped(net, after=lambda logits: logits * torch.nan, maker="nan_logits")


def constant_logits(net: nn.Module) -> Wrapped:
    """Make a classifier that ignores its input: its logits are 0, 1, ..., K - 1.

    Args:
        net: the sound classifier, from images (N, C, H, W) to logits (N, K).
    """

    def forget(logits: Tensor) -> Tensor:
        return logits * 0 + torch.arange(logits.shape[1], device=logits.device)

    return Wrapped(net, after=forget, maker="constant_logits")


def random_logits(net: nn.Module) -> Wrapped:
    """Make a classifier that answers differently at each call: half of each logit is noise from torch's generator.

    Args:
        net: the sound classifier, from images (N, C, H, W) to logits (N, K).
    """
    return Wrapped(net, after=lambda logits: logits + torch.randn_like(logits) * logits.std(), maker="random_logits")


def probabilities(net: nn.Module) -> Wrapped:
    """Make a classifier with a superfluous softmax at the end.

    Args:
        net: the sound classifier, from images (N, C, H, W) to logits (N, K).
    """
    return Wrapped(net, after=lambda logits: logits.softmax(1), maker="probabilities")


def zero_gradient(net: nn.Module) -> Wrapped:
    """Make a classifier that rounds its input to a grid of 1/8, so that the gradient is zero everywhere.

    Args:
        net: the sound classifier, from images (N, C, H, W) to logits (N, K).
    """
    return Wrapped(net, before=lambda x: (8 * x).round() / 8, maker="zero_gradient")


MARK = 0.4142135623730951
"""The value of a first entry at which `nan_gradient` has none; no grid of pixels or steps meets it by chance."""


def nan_gradient(net: nn.Module) -> Wrapped:
    """Make a classifier with NaN gradients at images whose first entry is exactly `MARK`; the logits are the net's.

    Args:
        net: the sound classifier, from images (N, C, H, W) to logits (N, K).
    """

    def poison(x: Tensor) -> Tensor:
        first = x.flatten(1)[:, :1]
        return x + 0 * (first - MARK).abs().sqrt().view(-1, *[1] * (x.ndim - 1))

    return Wrapped(net, before=poison, maker="nan_gradient")


BROKEN = {
    "nan": nan_logits,
    "constant": constant_logits,
    "random": random_logits,
    "probabilities": probabilities,
    "zero gradient": zero_gradient,
    "nan gradient": nan_gradient,
}
"""What the strategy `broken_classifiers` draws from."""
