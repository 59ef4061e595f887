"""The entries under a maximum: one (rectifier), the window of a pooling, the pieces of a maxout unit."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """The geometry of a two-dimensional pooling."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The entries under each maximum.

    Args:
        shape: (*out), one maximum an entry.
        index: flat positions in one sample's input (taps, outputs); the number of its entries stands for none. None
            means that every maximum has the entry of its own position.
        pooling: the geometry, if the windows are those of a two-dimensional pooling.
    """

    shape: tuple[int, ...]
    index: Tensor | None = None
    pooling: Pooling | None = None

    def taps(self, z: Tensor) -> Tensor:
        """(N, *in) -> (N, taps, outputs); -inf for taps without an entry."""
        flat = z.flatten(1)
        if self.index is None:
            return flat[:, None]
        padded = torch.cat([flat, flat.new_full((len(flat), 1), -math.inf)], 1)
        return padded[:, self.index]

    def sums(self, t: Tensor, shape: Sequence[int]) -> Tensor:
        """(N, taps, outputs) -> (N, *shape), the transpose of `taps`: each entry of the input sums its taps."""
        if self.index is None:
            return t.reshape(len(t), *shape)
        flat = t.new_zeros(len(t), math.prod(shape) + 1)
        flat = flat.index_add(1, self.index.to(t.device).flatten(), t.flatten(1))
        return flat[:, :-1].reshape(len(t), *shape)

    @property
    def count(self) -> int:
        """Number of entries under the largest window."""
        return 1 if self.index is None else len(self.index)

    def position(self, tap: Tensor) -> Tensor | None:
        """Return flat input positions of the chosen taps (N, outputs); None means each output's own."""
        if self.index is None:
            return None
        return self.index.to(tap.device).T.expand(len(tap), -1, -1).gather(2, tap[..., None]).squeeze(2)


def own_entry(shape: Sequence[int]) -> Windows:
    """Make windows of one entry, the output's own."""
    return Windows(shape=tuple(shape))


def pooled(inputs: Sequence[int], outputs: Sequence[int], pooling: Pooling, device: torch.device) -> Windows:
    """Make the windows of max pooling over (C, H, W) -> (C, H', W').

    Args:
        inputs: (C, H, W).
        outputs: shape (C, H', W') of the outputs, as the network itself rounds them.
        pooling: kernel, stride, padding, dilation.
        device: device of the index.
    """
    (C, H, W), (_, H_, W_) = inputs, outputs
    k, s, p, d = pooling.kernel, pooling.stride, pooling.padding, pooling.dilation
    places = []
    for a, b in itertools.product(range(k[0]), range(k[1])):
        rows = torch.arange(H_, device=device) * s[0] - p[0] + a * d[0]
        columns = torch.arange(W_, device=device) * s[1] - p[1] + b * d[1]
        inside = ((rows >= 0) & (rows < H))[:, None] & ((columns >= 0) & (columns < W))  # (H', W')
        within = rows[:, None] * W + columns
        maps = torch.arange(C, device=device)[:, None, None] * (H * W)
        places.append(torch.where(inside, maps + within, C * H * W).flatten())
    return Windows(shape=tuple(outputs), index=torch.stack(places), pooling=pooling)


def reduced(inputs: Sequence[int], axes: Sequence[int], outputs: Sequence[int], device: torch.device) -> Windows:
    """Make windows of a maximum over axes of one sample, such as maxout's pieces; axis 0 is the first of (*in)."""
    flat = torch.arange(math.prod(inputs), device=device).view(*inputs)
    kept = [a for a in range(len(inputs)) if a not in axes]
    index = flat.permute(*axes, *kept).reshape(math.prod(inputs[a] for a in axes), -1)
    return Windows(shape=tuple(outputs), index=index)


def adaptive(inputs: Sequence[int], outputs: Sequence[int], device: torch.device) -> Windows:
    """Make the windows of adaptive max pooling over (C, H, W) -> (C, H', W'); they may differ in size and overlap."""
    C, H, W = inputs
    (rows, row_in), (columns, column_in) = (_adaptive(n, m, device) for n, m in zip((H, W), outputs[1:], strict=True))
    inside = row_in[:, None, :, None] & column_in[:, None, :]  # (k, k', H', W')
    within = rows[:, None, :, None] * W + columns[:, None, :]
    maps = torch.arange(C, device=device)[:, None, None] * (H * W)
    index = torch.where(inside[:, :, None], maps + within[:, :, None], C * H * W)  # (k, k', C, H', W')
    return Windows(shape=tuple(outputs), index=index.flatten(2).flatten(0, 1))


def _adaptive(n: int, m: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Entries (k, m) of the m windows over n entries, and which of them there are."""
    first = torch.tensor([i * n // m for i in range(m)], device=device)
    end = torch.tensor([-(-(i + 1) * n // m) for i in range(m)], device=device)
    places = first + torch.arange(int((end - first).max()), device=device)[:, None]
    return places, places < end
