"""Layers and constraints of the lecture that torch lacks: LRN, DropConnect, fractional pooling, maxout, max-norm."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.core.errors import InputError, unknown

MASKS = ("batch", "sample")


class LRN(nn.Module):
    """Local response normalisation across maps, Krizhevsky et al. 2012, sec. 3.3.

    `b_i = a_i / (k + alpha sum_j a_j^2)^beta`, j over the n maps around i (fewer at the ends). torch's
    `LocalResponseNorm` divides alpha by n: its alpha is n times this one.
    """

    def __init__(self, n: int = 5, *, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> None:
        super().__init__()
        if n < 1 or n % 2 == 0:
            raise InputError(f"expected an odd number of maps n, got {n}")
        self.n, self.k, self.alpha, self.beta = n, k, alpha, beta

    def forward(self, a: Tensor) -> Tensor:
        """a (N, C, H, W) -> b of the same shape. The sum over maps is a 1x1 convolution, twice as fast as a window."""
        maps = torch.arange(a.shape[1], device=a.device)
        around = (maps[:, None] - maps).abs() <= self.n // 2  # (C, C)
        squares = (self.alpha**0.5 * a).square()  # without alpha float16 would overflow from 256 on
        scale = self.k + F.conv2d(squares, around[..., None, None].to(a.dtype))
        return a * scale**-self.beta

    def extra_repr(self) -> str:
        """Return the paper's constants."""
        return f"n={self.n}, k={self.k}, alpha={self.alpha}, beta={self.beta}"


class DropConnectLinear(nn.Linear):
    """A linear layer that drops connections, Wan, Zeiler, Zhang, LeCun, Fergus 2013, sec. 3: `(M * W) x`.

    In training each weight and each bias is kept with probability 1 - p and divided by 1 - p. In eval mode it is the
    linear layer with the mean weights, or with `samples` what the paper does (sec. 3.2): that many draws for each unit
    from a Gaussian with the mean and variance of its input over the masks. The activation that follows takes them one
    by one, and `MeanOfSamples` their mean. The Gaussian numbers are drawn once and serve every image, so that the
    network stays a function.

    Args:
        p: probability of dropping a connection, in [0, 1).
        masks: "batch", one mask a mini-batch; "sample", one for every image as in the paper, which takes as many times
            the memory of the weights.
        samples: number of draws in eval mode; 0 takes the mean weights.
    """

    noise: Tensor

    def __init__(
        self, in_features: int, out_features: int, *, p: float = 0.5, masks: str = "batch", samples: int = 0
    ) -> None:
        super().__init__(in_features, out_features)
        if not 0 <= p < 1:
            raise InputError(f"expected a probability p of dropping in [0, 1), got {p}")
        if masks not in MASKS:
            raise unknown("masks", masks, MASKS)
        if samples < 0:
            raise InputError(f"expected samples of 0 or more, got {samples}")
        self.p, self.masks, self.samples = p, masks, samples
        draws = torch.Generator().manual_seed(0)
        self.register_buffer(
            "noise", torch.randn(samples, 1, out_features, generator=draws, device="cpu"), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in) -> (N, out); in eval mode with samples Z (Z, N, out)."""
        if not self.training and self.samples:
            mean, variance = self.moments(x)
            return mean + variance.sqrt() * self.noise
        if self.training and self.masks == "sample":
            W, b = (F.dropout(t.expand(len(x), *t.shape), self.p) for t in (self.weight, self.bias))
            return (W @ x[..., None])[..., 0] + b
        W, b = (F.dropout(t, self.p, self.training) for t in (self.weight, self.bias))
        return F.linear(x, W, b)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the units' inputs over all masks: `W x + b`, `p / (1 - p) (W^2 x^2 + b^2)`, (N, out)."""
        variance = self.p / (1 - self.p) * F.linear(x.square(), self.weight.square(), self.bias.square())
        return F.linear(x, self.weight, self.bias), variance

    def extra_repr(self) -> str:
        """Sizes and p."""
        return f"{super().extra_repr()}, p={self.p}, masks={self.masks}, samples={self.samples}"


class MeanOfSamples(nn.Module):
    """The mean over the draws of a `DropConnectLinear` with samples; input without draws is returned unchanged."""

    def forward(self, a: Tensor) -> Tensor:
        """a (Z, N, units) or (N, units) -> (N, units)."""
        return a.mean(0) if a.ndim == 3 else a


class FractionalMaxPool(nn.Module):
    """Max pooling by a factor between 1 and 2, Graham 2014, arXiv 1412.6071: 2x2 windows at irregular steps.

    In training the steps are drawn for each image; in eval mode they are always the same.

    Args:
        ratio: output size over input size, in (.5, 1); the default shrinks by sqrt(2).
    """

    def __init__(self, ratio: float = 0.5**0.5) -> None:
        super().__init__()
        if not 0.5 <= ratio < 1:
            raise InputError(f"expected a ratio in [0.5, 1), got {ratio}")
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, C, floor(ratio H), floor(ratio W))."""
        place = None if self.training else x.new_full((len(x), x.shape[1], 2), 0.5)
        pooled: Tensor = F.fractional_max_pool2d(x, 2, output_ratio=(self.ratio, self.ratio), _random_samples=place)
        return pooled

    def extra_repr(self) -> str:
        """Return the ratio."""
        return f"ratio={self.ratio:.4g}"


class Maxout(nn.Module):
    """A maxout layer, Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013, sec. 3: `h_i = max_j (x W_ij + b_ij)`.

    Args:
        in_features, out_features: sizes of x and h.
        pieces: number of affine functions under each maximum.
    """

    def __init__(self, in_features: int, out_features: int, *, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(in_features, out_features * pieces)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in) -> (N, out)."""
        z: Tensor = self.linear(x).unflatten(1, (-1, self.pieces))  # (N, out, pieces)
        return z.amax(2)


class MaxoutConv2d(nn.Module):
    """A convolutional maxout layer, sec. 3: each map is the largest of several affine convolutions, place by place.

    Args:
        in_maps, out_maps: numbers of maps.
        kernel: side of the kernels.
        padding: border of zeros.
        pieces: convolutions under each maximum.
    """

    def __init__(self, in_maps: int, out_maps: int, kernel: int, *, padding: int = 0, pieces: int = 2) -> None:
        super().__init__()
        self.pieces = pieces
        self.conv = nn.Conv2d(in_maps, out_maps * pieces, kernel, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, maps, H', W')."""
        z: Tensor = self.conv(x).unflatten(1, (-1, self.pieces))  # (N, maps, pieces, H', W')
        return z.amax(2)


class MaxNorm:
    """The constraint that no unit's incoming weights exceed a norm, Srivastava et al. 2014, sec. 5.1.

    It projects the weights of all linear and convolutional layers after each step of the optimiser:
    `optimizer.register_step_post_hook(MaxNorm(model, 3.0))`, or call it.

    Args:
        model: the network.
        limit: largest Euclidean norm of the weights into one unit, above 0.
    """

    def __init__(self, model: nn.Module, limit: float = 3.0) -> None:
        if not limit > 0:
            raise InputError(f"expected a limit above 0, got {limit}")
        layers = (m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d))
        self.weights, self.limit = [layer.weight for layer in layers], limit

    @torch.no_grad()
    def __call__(self, *_: Any) -> None:
        for weight in self.weights:
            norms = torch.linalg.vector_norm(weight.flatten(1), dim=1)  # (units,)
            scale = (self.limit / norms.clamp_min(self.limit)).view(-1, *[1] * (weight.ndim - 1))
            weight.mul_(scale)


class FilterClip:
    """Feature scale clipping, Zeiler, Fergus 2013, sec. 3.1: no filter's root mean square exceeds a limit.

    It rescales the filters of all convolutions after each step of the optimiser, so that none dominates the first
    layer: `optimizer.register_step_post_hook(FilterClip(model))`, or call it. In a table of connections each kernel
    counts as one filter.

    Args:
        model: the network.
        limit: largest root mean square of the weights of one filter, above 0.
    """

    def __init__(self, model: nn.Module, limit: float = 0.1) -> None:
        if not limit > 0:
            raise InputError(f"expected a limit above 0, got {limit}")
        weights = (m._parameters.get("weight") for m in model.modules())
        self.weights, self.limit = [w for w in weights if w is not None and w.ndim in (3, 4)], limit

    @torch.no_grad()
    def __call__(self, *_: Any) -> None:
        for weight in self.weights:
            rms = weight.flatten(1).square().mean(1).sqrt()  # (filters,)
            weight.mul_((self.limit / rms.clamp_min(self.limit)).view(-1, *[1] * (weight.ndim - 1)))
