"""Rows of a backward pass: coefficients over a whole node, or over one small window of its maps.

A unit behind a convolution depends on a window of the maps in front of it, and so does its row of coefficients: Xu,
Shi, Zhang et al. 2020, "Automatic perturbation analysis", arXiv 2002.12920, section 3. Entries of a window outside the
map are 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.certification.linear import Conv


@dataclass(frozen=True, kw_only=True)
class Rows:
    """R linear functions of one node for each of N samples.

    Args:
        a: coefficients (N, R, *shape); with corners (N, R, h, w, C).
        top: first line of each window on the map (N, R), possibly outside it; None if the row covers the node.
        left: first column of each window (N, R).
        at: the result of `position`, if it is known.
    """

    a: Tensor
    top: Tensor | None = None
    left: Tensor | None = None
    at: Tensor | None = None

    def like(self, a: Tensor) -> "Rows":
        """Return other coefficients in the same places."""
        return Rows(a=a, top=self.top, left=self.left, at=self.at)

    def take(self, some: Tensor) -> "Rows":
        """Return some of the R functions, by index."""
        return Rows(
            a=self.a[:, some],
            top=None if self.top is None else self.top[:, some],
            left=None if self.left is None else self.left[:, some],
            at=None if self.at is None else self.at[:, some],
        )

    def chosen(self, some: Tensor) -> "Rows":
        """Return functions of each sample's own choice, by index (N, R')."""
        n = torch.arange(len(some), device=some.device)[:, None]
        places = (None if t is None else t[n, some] for t in (self.top, self.left, self.at))
        top, left, at = places
        return Rows(a=self.a[n, some], top=top, left=left, at=at)

    def position(self, shape: tuple[int, ...]) -> Tensor:
        """Where each entry lies on the flat map (C, H, W): (N, R, h, w); H W stands for outside."""
        if self.at is not None:
            return self.at
        assert self.top is not None
        assert self.left is not None
        _, H, W = shape
        h, w = self.a.shape[2:4]
        lines = self.top[..., None] + torch.arange(h, device=self.a.device)  # (N, R, h)
        columns = self.left[..., None] + torch.arange(w, device=self.a.device)
        inside = ((lines >= 0) & (lines < H))[..., None] & ((columns >= 0) & (columns < W))[..., None, :]
        return torch.where(inside, lines[..., None] * W + columns[..., None, :], H * W)

    def cut(self, t: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The values of a tensor (N, *shape) under each window, in a shape that broadcasts against a."""
        if self.top is None:
            return t.view(len(t), 1, *shape)
        maps = t.reshape(len(t), shape[0], -1).transpose(1, 2)  # (N, HW, C)
        maps = torch.cat([maps, maps.new_zeros(len(t), 1, shape[0])], 1)
        start = torch.arange(len(t), device=t.device).view(-1, 1, 1, 1) * maps.shape[1]
        chosen = maps.flatten(0, 1).index_select(0, (start + self.position(shape)).flatten())
        return chosen.view(self.a.shape)

    def whole(self, shape: tuple[int, ...]) -> "Rows":
        """Return the same rows over the whole node."""
        if self.top is None:
            return self
        N, R, *_, C = self.a.shape
        room = shape[1] * shape[2] + 1
        start = torch.arange(N * R, device=self.a.device).view(N, R, 1, 1) * room
        flat = self.a.new_zeros(N * R * room, C)
        flat = flat.index_add(0, (start + self.position(shape)).flatten(), self.a.flatten(0, 3))
        return Rows(a=flat.view(N, R, room, C)[:, :, :-1].transpose(2, 3).reshape(N, R, *shape))

    def times(self, t: Tensor, shape: tuple[int, ...]) -> Tensor:
        """<a, t> for t (N, *shape): (N, R)."""
        return (self.a * self.cut(t, shape)).flatten(2).sum(2)

    def size(self, slack: Tensor) -> Tensor:
        """An upper bound of <|a|, slack> for slack (N, *shape) >= 0: (N, R). A window uses the largest slack."""
        if self.top is None:
            return (self.a.flatten(2).abs() * slack.flatten(1)[:, None]).sum(2)
        return self.a.abs().flatten(2).sum(2) * slack.flatten(1).amax(1)[:, None]

    def constant(self, bias: Tensor, shape: tuple[int, ...]) -> Tensor:
        """<a, bias> for a bias that broadcasts against (*shape): (N, R)."""
        if self.top is not None and bias.ndim and bias.numel() == bias.shape[0] == shape[0]:
            return self.a.flatten(2, 3).sum(2) @ bias.flatten()
        if self.top is not None:
            return self.times(bias.expand(len(self.a), *shape), shape)
        return (self.a * bias).flatten(2).sum(2)

    def fits(self, conv: Conv, shape: tuple[int, ...]) -> bool:
        """Return whether the windows in front of the convolution are smaller than its input (C, H, W)."""
        plain = not conv.transposed and conv.groups == 1 and len(shape) == 3 and set(conv.dilation) == {1}
        if self.top is None or not plain:
            return False
        sides = self.sides(conv)
        return sides[0] * sides[1] < shape[1] * shape[2]

    def sides(self, conv: Conv) -> tuple[int, int]:
        """Return height and width of the windows in front of a convolution."""
        h, w = self.a.shape[2:4]
        return (h - 1) * conv.stride[0] + conv.weight.shape[2], (w - 1) * conv.stride[1] + conv.weight.shape[3]

    def before(self, conv: Conv, shape: tuple[int, ...]) -> "Rows":
        """Return the windows in front of a convolution with input (C, H, W)."""
        assert self.top is not None
        assert self.left is not None
        _, inputs, k, m = conv.weight.shape
        N, R, h, w, _ = self.a.shape
        kernel = conv.weight.permute(0, 2, 3, 1).flatten(1)  # (out, k m in)
        parts = (self.a @ kernel).view(N, R, h, w, k, m, inputs)
        height, width = self.sides(conv)
        if h == w == 1:
            back = parts.view(N, R, k, m, inputs)
        else:
            back = self.a.new_zeros(N, R, height, width, inputs)
            (s, t) = conv.stride
            for i in range(k):
                for j in range(m):
                    back[:, :, i : i + (h - 1) * s + 1 : s, j : j + (w - 1) * t + 1 : t] += parts[..., i, j, :]
        top, left = self.top * conv.stride[0] - conv.padding[0], self.left * conv.stride[1] - conv.padding[1]
        made = Rows(a=back, top=top, left=left)
        at = made.position(shape)
        return Rows(a=back * (at < shape[1] * shape[2])[..., None], top=top, left=left, at=at)

    def plus(self, other: "Rows", shape: tuple[int, ...]) -> "Rows":
        """Add two sets of rows."""
        if self.top is not None and other.top is not None and self.a.shape == other.a.shape:
            assert self.left is not None
            assert other.left is not None
            if torch.equal(self.top, other.top) and torch.equal(self.left, other.left):
                return self.like(self.a + other.a)
        return Rows(a=self.whole(shape).a + other.whole(shape).a)


def units(index: Tensor, shape: tuple[int, ...], sign: Tensor, like: Tensor, *, windows: bool) -> Rows:
    """Make rows that select single units, times their signs.

    Args:
        index: flat positions (N, R) in a node of this shape.
        shape: (*shape) of the node.
        sign: 1 or -1 for each (N, R).
        like: a tensor of the type and device of the rows.
        windows: whether to keep them as windows, if the node consists of maps.
    """
    if windows and len(shape) == 3:
        C, H, W = shape
        channel, place = index // (H * W), index % (H * W)
        a = sign[..., None] * torch.nn.functional.one_hot(channel, C).to(like.dtype)
        return Rows(a=a[:, :, None, None], top=place // W, left=place % W, at=place[..., None, None])
    a = like.new_zeros(*index.shape, torch.Size(shape).numel()).scatter_(2, index[..., None], sign[..., None])
    return Rows(a=a.view(*index.shape, *shape))
