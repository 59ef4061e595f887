"""The affine nodes: their maps of points, of magnitudes, and of the coefficients of backward bounds.

A node computes `linear(z) + bias`. `size` is the same map with absolute weights, for radii and magnitudes.
`transpose` maps coefficients (B, *out) of the output to those of each input.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, ...]

DEEP = 4096
"""Products of channels for each pixel of a map, from which on one product for many rows is faster than torch's own."""

AT_ONCE = 2**22
"""Entries of that product at once."""

SPARSE = 8
"""Entries of a matrix for each one that is not 0, from which on the sparse product is faster."""


@dataclass(frozen=True, kw_only=True)
class Affine:
    """The base class of affine nodes.

    Args:
        bias: constant part, of a shape that broadcasts against (*out); None is 0.
        bias_size: sum of the absolute values of the bias's terms; None for |bias|.
        terms: number of terms in the longest sum of the network's own arithmetic.
        width: number of terms in the longest sum of `transpose`.
    """

    bias: Tensor | None = None
    bias_size: Tensor | None = None
    terms: int = 1
    width: int = 1

    def linear(self, inputs: Sequence[Tensor]) -> Tensor:
        """The map without its bias: tensors (N, *in) -> (N, *out)."""
        raise NotImplementedError

    def size(self, inputs: Sequence[Tensor]) -> Tensor:
        """The map with absolute weights: tensors (N, *in) >= 0 -> (N, *out)."""
        return self.linear(inputs)

    def peak(self, inputs: Sequence[Tensor], size: Tensor) -> Tensor:
        """Bound the numbers on the way to the output, in any order of the sums: (N, ...).

        Args:
            inputs: magnitudes (N, *in) of the inputs.
            size: result of `size` for them, with that of the bias.
        """
        return size

    def transpose(self, A: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        """Coefficients (B, *out) -> one tensor (B, *in) for each input."""
        raise NotImplementedError

    @property
    def offset_size(self) -> Tensor | None:
        """The magnitude of the bias."""
        if self.bias_size is not None or self.bias is None:
            return self.bias_size
        return self.bias.abs()


@dataclass(frozen=True, kw_only=True)
class Conv(Affine):
    """A convolution or a transposed one, in any number of dimensions; the arguments are aten.convolution's."""

    weight: Tensor
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int

    def linear(self, inputs: Sequence[Tensor]) -> Tensor:
        return self._forward(inputs[0], self.weight)

    def size(self, inputs: Sequence[Tensor]) -> Tensor:
        return self._forward(inputs[0], self.weight.abs())

    def _forward(self, z: Tensor, weight: Tensor) -> Tensor:
        answer: Tensor = torch.ops.aten.convolution(
            z, weight, None, self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups
        )
        return answer

    def transpose(self, A: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        left = [0] * len(self.stride)
        if not self.transposed:
            for i, (n, m) in enumerate(zip(shapes[0][1:], A.shape[2:], strict=True)):
                reach = (m - 1) * self.stride[i] + self.dilation[i] * (self.weight.shape[2 + i] - 1) + 1
                left[i] = n - (reach - 2 * self.padding[i])
            over = [max(0, n - s + 1) for n, s in zip(left, self.stride, strict=True)]
            if any(over):  # rows at the end that no output sees
                inner = [n - o for n, o in zip(shapes[0][1:], over, strict=True)]
                found = self.transpose(A, [(shapes[0][0], *inner)])[0]
                return [torch.nn.functional.pad(found, [v for o in reversed(over) for v in (0, o)])]
        if self._is_deep(A):
            return [self._by_product(A, shapes[0])]
        if A.ndim == 4 and A.device.type == "cpu" and A.dtype == torch.float32 and set(self.stride) == {1}:
            A = A.contiguous(memory_format=torch.channels_last)  # which takes half the time where channels are few
        back = torch.ops.aten.convolution(
            A, self.weight, None, self.stride, self.padding, self.dilation, not self.transposed, left, self.groups
        )
        return [back]

    def _is_deep(self, A: Tensor) -> bool:
        """Whether the maps (B, C, H, W) are so small that torch, which goes row by row, mostly waits for the weights.

        Only in float64 on a CPU, for which torch has no better method.
        """
        if A.ndim != 4 or self.transposed or self.groups != 1 or A.device.type != "cpu" or A.dtype != torch.float64:
            return False
        return A.shape[2] * A.shape[3] * DEEP <= self.weight.shape[0] * self.weight.shape[1]

    def _by_product(self, A: Tensor, shape: Shape) -> Tensor:
        """The transpose as one product for many rows, without the taps that lie outside the map (C, H, W) always."""
        sides, corner = A.shape[2:], tuple(self.padding)
        seen: list[list[int]] = []  # taps along either axis
        for i, (m, n) in enumerate(zip(sides, shape[1:], strict=True)):
            first = [t * self.dilation[i] - corner[i] for t in range(self.weight.shape[2 + i])]
            seen.append([t for t, f in enumerate(first) if any(0 <= f + r * self.stride[i] < n for r in range(m))])
        kernel = self.weight[:, :, seen[0]][..., seen[1]].permute(0, 2, 3, 1).flatten(1)  # (out, taps taps' in)
        room = [n + 2 * p for n, p in zip(shape[1:], corner, strict=True)]
        found = []
        for part in torch.split(A, max(1, AT_ONCE // (math.prod(sides) * max(1, kernel.shape[1])))):
            products = (part.permute(0, 2, 3, 1) @ kernel).view(len(part), *sides, *map(len, seen), shape[0])
            back = part.new_zeros(len(part), *room, shape[0])
            for (i, a), (j, b) in itertools.product(enumerate(seen[0]), enumerate(seen[1])):
                places = [
                    slice(t * d, t * d + (m - 1) * s + 1, s)
                    for t, d, m, s in zip((a, b), self.dilation, sides, self.stride, strict=True)
                ]
                back[:, places[0], places[1]] += products[:, :, :, i, j]
            inner = back[:, corner[0] : corner[0] + shape[1], corner[1] : corner[1] + shape[2]]
            found.append(inner.permute(0, 3, 1, 2))
        return torch.cat(found) if len(found) > 1 else found[0]


@dataclass(frozen=True, kw_only=True)
class Dense(Affine):
    """A matrix (out, in) on the last axis."""

    weight: Tensor

    def linear(self, inputs: Sequence[Tensor]) -> Tensor:
        return inputs[0] @ self.weight.T

    def size(self, inputs: Sequence[Tensor]) -> Tensor:
        return inputs[0] @ self.weight.abs().T

    def transpose(self, A: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        return [A @ self.weight]


@dataclass(frozen=True, kw_only=True)
class Joint(Affine):
    """A matrix (out, all) on the entries of several inputs, flat, one input after another.

    Args:
        weight: the matrix.
        sparse: the same matrix, if products with it are faster in this form, and None otherwise.
        turned: transpose of `sparse`.
    """

    weight: Tensor
    sparse: Tensor | None = None
    turned: Tensor | None = None

    def linear(self, inputs: Sequence[Tensor]) -> Tensor:
        return torch.cat([z.flatten(1) for z in inputs], 1) @ self.weight.T

    def size(self, inputs: Sequence[Tensor]) -> Tensor:
        return torch.cat([z.flatten(1) for z in inputs], 1) @ self.weight.abs().T

    def transpose(self, A: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        whole: Tensor = A @ self.weight if self.sparse is None else _Sparse.apply(A, self.sparse, self.turned)
        parts = torch.split(whole, [math.prod(shape) for shape in shapes], 1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


class _Sparse(torch.autograd.Function):
    """A @ sparse."""

    @staticmethod
    def forward(ctx: Any, A: Tensor, sparse: Tensor, turned: Tensor) -> Tensor:
        ctx.sparse = sparse
        return (turned @ A.T.contiguous()).T.contiguous()

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor, None, None]:
        return (ctx.sparse @ g[0].T.contiguous()).T.contiguous(), None, None


def joint(weight: Tensor, bias: Tensor) -> Joint:
    """Make the node of an affine map; its matrix is kept sparse, too, where that is faster.

    Args:
        weight: matrix (out, all).
        bias: constant part (out,).
    """
    sizes: Any = {"weight": weight, "bias": bias, "terms": weight.shape[1] + 1, "width": len(weight)}
    fast = weight.device.type == "cpu" and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    if not fast or int((weight != 0).sum()) * SPARSE > weight.numel():
        return Joint(**sizes)
    with warnings.catch_warnings(category=UserWarning, action="ignore"):  # torch says once that the form is new
        return Joint(**sizes, sparse=weight.to_sparse_csr(), turned=weight.T.contiguous().to_sparse_csr())


@dataclass(frozen=True, kw_only=True)
class Scale(Affine):
    """A factor for every entry, of a shape that broadcasts against (*out).

    Args:
        factor: the factor.
        first: what some devices compute first, such as a difference from the mean: a factor and the magnitude of a
            constant, of such shapes; None for nothing.
    """

    factor: Tensor
    first: tuple[Tensor, Tensor] | None = None

    def linear(self, inputs: Sequence[Tensor]) -> Tensor:
        return inputs[0] * self.factor

    def size(self, inputs: Sequence[Tensor]) -> Tensor:
        return inputs[0] * self.factor.abs()

    def peak(self, inputs: Sequence[Tensor], size: Tensor) -> Tensor:
        size = torch.maximum(size, self.factor.abs())  # the network may compute the factor, such as 1 / c
        return size if self.first is None else torch.maximum(size, inputs[0] * self.first[0] + self.first[1])

    def transpose(self, A: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        return [A * self.factor]


@dataclass(frozen=True, kw_only=True)
class Combination(Affine):
    """A sum of inputs of one shape, each with a factor."""

    factors: tuple[float, ...] = (1.0,)

    def linear(self, inputs: Sequence[Tensor]) -> Tensor:
        return _total([f * z if f != 1 else z for f, z in zip(self.factors, inputs, strict=True)])

    def size(self, inputs: Sequence[Tensor]) -> Tensor:
        return _total([abs(f) * z if abs(f) != 1 else z for f, z in zip(self.factors, inputs, strict=True)])

    def transpose(self, A: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        return [f * A if f != 1 else A for f in self.factors]


def _total(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@dataclass(frozen=True, kw_only=True)
class Reshape(Affine):
    """The same entries in the same order in another shape."""

    shape: Shape

    def linear(self, inputs: Sequence[Tensor]) -> Tensor:
        return inputs[0].reshape(-1, *self.shape)

    def transpose(self, A: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        return [A.reshape(-1, *shapes[0])]


@dataclass(frozen=True, kw_only=True)
class Move(Affine):
    """Any other linear operation whose weights are all >= 0: selections, permutations, padding, means.

    Args:
        run: the operation, tensors (B, *in) -> (B, *out).
        divided: number of entries that are summed before a division, as a mean does; 0 for no division.
    """

    run: Callable[..., Tensor] = field(repr=False)
    name: str = ""
    divided: int = 0

    def linear(self, inputs: Sequence[Tensor]) -> Tensor:
        return self.run(*inputs)

    def peak(self, inputs: Sequence[Tensor], size: Tensor) -> Tensor:
        if not self.divided:
            return size
        most = inputs[0].flatten(1).amax(1) * self.divided
        return torch.maximum(size, most.view(-1, *[1] * (size.ndim - 1)))

    def transpose(self, A: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        """Transpose by autograd: the operation is linear, so the gradient at any point is its transpose."""
        with torch.enable_grad():
            points = [A.new_zeros(len(A), *shape, requires_grad=True) for shape in shapes]
            out = self.run(*points)
        found = torch.autograd.grad(out, points, A, create_graph=A.requires_grad, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(points, found, strict=True)]


def numel(shape: Any) -> int:
    """Return the number of entries of a shape."""
    return math.prod(shape)
