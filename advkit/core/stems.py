"""The gradient to the images through a network's first convolution: the same sums, several times faster on a CPU.

A first convolution sees one to four channels. Its gradient has as few, and a processor that works on sixteen channels
at once makes little of one. So the gradient of a block of T x T pixels is one ordinary convolution of what comes back,
whose T x T output channels are the pixels of the block: the sub-pixel convolution of Shi et al. 2016,
https://arxiv.org/abs/1609.05158. `benchmarks/first_convolution.py` times it: on one thread .12 to .86 of torch's time.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advkit.core.loans import Borrowed, Loan

FEW = 4
"""The largest number of channels that are few."""

LANES = 16
"""The channels that a processor computes at once."""

MANY = 2**14
"""The least number of pixels of a batch for which it pays: below, the calls cost more than they save."""

WIDE = 64
"""The largest number of output channels of a block, unless a stride needs more."""


def stems(modules: Sequence[nn.Module]) -> list[Loan]:
    """What the first convolutions borrow for a pass: a forward whose gradient to the images is the faster one.

    Their answers are those of the convolutions, bit for bit. The gradient rounds otherwise. It is torch's own where a
    parameter takes a gradient too, and for images of another precision than the kernel.

    Args:
        modules: the modules of a model on a CPU. Those that are no plain `nn.Conv2d` of few channels borrow nothing.
    """
    return [
        Loan(module.__dict__, "forward", _Forward(module))
        for module in modules
        if isinstance(module, nn.Conv2d) and _is_stem(module)
    ]


def _is_stem(module: nn.Conv2d) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.in_channels <= FEW
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.stride[0] == module.stride[1]
        and max(module.kernel_size) > 1
        and "forward" not in module.__dict__
        and type(module._parameters.get("weight")) is nn.Parameter
    )


class _Forward(Borrowed):
    """The forward of a first convolution, for as long as the kernel does not change."""

    def __init__(self, module: nn.Conv2d) -> None:
        self._module, self._blocks = module, _Blocks(module)

    def __call__(self, x: Tensor) -> Tensor:
        module = self._module
        weight, bias = module.weight, module.bias
        fixed = not weight.requires_grad and (bias is None or not bias.requires_grad)
        if (
            fixed
            and x.requires_grad
            and torch.is_grad_enabled()
            and x.ndim == 4
            and x.numel() >= MANY * x.shape[1]
            and x.dtype == weight.dtype
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        ):
            return _Convolution.apply(x, weight, bias, self._blocks)  # type: ignore[no-any-return]
        return type(module).forward(module, x)


class _Convolution(torch.autograd.Function):
    """A convolution whose gradient to the images is computed in blocks; it keeps what torch's keeps."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, blocks: "_Blocks") -> Tensor:
        return F.conv2d(x, weight, bias, blocks.stride, blocks.padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.blocks = inputs
        ctx.save_for_backward(x, weight)  # checkpoints count what is kept
        ctx.save_for_forward(weight)
        ctx.size = x.shape[2:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.blocks.to_images(gradients[0], *ctx.size), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (weight,) = ctx.saved_tensors
        return F.conv2d(tangents[0], weight, None, ctx.blocks.stride, ctx.blocks.padding)


class _Blocks:
    """The convolution that gives the gradient of whole blocks of pixels.

    Along an axis, with stride s and padding p, pixel `T b + r` of block b gets `sum_d w[r + p - s d] g[(T / s) b + d]`.
    """

    def __init__(self, module: nn.Conv2d) -> None:
        self._weight = module.weight
        self.stride, self.padding = module.stride[0], tuple(int(p) for p in module.padding)
        self._side = min(self._sides(module.in_channels), key=lambda side: self._work(side, module.in_channels))

    def _sides(self, channels: int) -> list[int]:
        """The sides of a block that may be taken: a multiple of the stride."""
        some = range(self.stride, WIDE, self.stride)
        return [self.stride, *(side for side in some if channels * side * side <= WIDE)]

    def _work(self, side: int, channels: int) -> float:
        """The products for a pixel, those of channels that fill up the lanes included."""
        places = self._reach(0, side), self._reach(1, side)
        products = len(places[0]) * len(places[1]) * -(-channels * side * side // LANES) * LANES
        return products / side**2

    def _reach(self, axis: int, side: int) -> range:
        """The places d from a block's first on whose gradient reaches the block."""
        s, p, k = self.stride, self.padding[axis], self._weight.shape[2 + axis]
        return range(-((k - 1 - p) // s), (side - 1 + p) // s + 1)

    @cached_property
    def _kernel(self) -> Tensor:
        """(I T T, O, h, w)."""
        padded = F.pad(self._weight.detach(), (0, 1, 0, 1))  # behind the kernel is a zero
        rows, columns = self._places(0), self._places(1)
        taken = padded[:, :, rows[:, :, None, None], columns]  # (O, I, T, h, T, w)
        return taken.permute(1, 2, 4, 0, 3, 5).flatten(0, 2)

    def _places(self, axis: int) -> Tensor:
        """(T, n) int64: which place of the kernel takes the n-th gradient to the r-th pixel."""
        r = torch.arange(self._side, device="cpu")[:, None]
        reach = self._reach(axis, self._side)
        place = r + self.padding[axis] - self.stride * torch.arange(reach.start, reach.stop, device="cpu")
        size = self._weight.shape[2 + axis]
        return torch.where((place >= 0) & (place < size), place, size)

    def to_images(self, gradient: Tensor, height: int, width: int) -> Tensor:
        """The gradient (N, I, height, width) from that of the answers (N, O, h, w)."""
        hop = self._side // self.stride
        counts, before, margins = [], [], []
        for axis, pixels in enumerate((height, width)):
            reach, count = self._reach(axis, self._side), -(-pixels // self._side)
            beyond = (count - 1) * hop + reach.stop - gradient.shape[2 + axis]  # places behind the last
            extra = max(0, -(-max(reach.start, beyond + reach.start) // hop))  # blocks in front, to pad both ends alike
            counts.append(count)
            before.append(extra)
            margins.append(extra * hop - reach.start)
        blocks = F.conv2d(gradient, self._kernel, stride=hop, padding=margins)
        rows, columns = (slice(b, b + n) for b, n in zip(before, counts, strict=True))
        return _unfolded(blocks[:, :, rows, columns], self._side)[:, :, :height, :width]


def _unfolded(blocks: Tensor, side: int) -> Tensor:
    """Images (N, I, h T, w T) from blocks (N, I T T, h, w): `pixel_shuffle` in two thirds of its time."""
    n, channels, h, w = blocks.shape
    pixels = blocks.view(n, channels // side**2, side, side, h, w).permute(0, 1, 4, 2, 5, 3)
    return pixels.reshape(n, channels // side**2, h * side, w * side)
