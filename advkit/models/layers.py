"""Layers and constraints of the lecture that torch lacks: LRN by the paper's formula, DropConnect, maxout, max-norm."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.core.errors import InputError


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
        """The paper's constants."""
        return f"n={self.n}, k={self.k}, alpha={self.alpha}, beta={self.beta}"


class DropConnectLinear(nn.Linear):
    """A linear layer that drops connections, Wan, Zeiler, Zhang, LeCun, Fergus 2013, sec. 3: `(M * W) x`.

    In training each weight and each bias is kept with probability 1 - p and divided by 1 - p; one mask a mini-batch
    (the paper: one an example). In eval mode it is the linear layer with the mean weights (the paper samples there).

    Args:
        p: probability of dropping a connection, in [0, 1).
    """

    def __init__(self, in_features: int, out_features: int, *, p: float = 0.5) -> None:
        super().__init__(in_features, out_features)
        if not 0 <= p < 1:
            raise InputError(f"expected a probability p of dropping in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in) -> (N, out)."""
        W, b = (F.dropout(t, self.p, self.training) for t in (self.weight, self.bias))
        return F.linear(x, W, b)

    def extra_repr(self) -> str:
        """Sizes and p."""
        return f"{super().extra_repr()}, p={self.p}"


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
