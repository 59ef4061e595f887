"""The inputs covered by a certificate: a ball within the range of the pixels, rounded outward."""

from typing import NamedTuple

import torch
from torch import Tensor

from advkit.certification.unit_rows import Rows
from advkit.core.norms import Norm, get_norm, per_row


class Ball(NamedTuple):
    """All points within eps of x and within the range; one row a sample, float64.

    core's `Region` is rounded toward x, so that an attack never leaves the ball. This one is rounded away from x, so
    that the ball never leaves it.

    Attributes:
        norm: the norm of the ball.
        x: the centres (N, ...).
        eps: the radii (N,).
        low: the least value of every entry (N, ...).
        high: the largest value of every entry (N, ...).
    """

    norm: Norm
    x: Tensor
    eps: Tensor
    low: Tensor
    high: Tensor

    def least(self, rows: Rows) -> Tensor:
        """A lower bound of <a, z> over the ball for each row: (N, R)."""
        shape = tuple(self.x.shape[1:])
        if self.norm.boxed and rows.top is None:
            a, middle, radius = rows.a, (self.low + self.high) / 2, (self.low - self.high) / 2
            return torch.addcmul(a * middle[:, None], a.abs(), radius[:, None]).flatten(2).sum(2)
        x, low, high = (rows.cut(t, shape).expand_as(rows.a).flatten(2) for t in (self.x, self.low, self.high))
        a = rows.a.flatten(2)
        room = torch.where(a < 0, high - x, x - low)  # how far the entry may go to lower the product
        drop = self.norm.ceiling(a.abs().flatten(0, 1), room.flatten(0, 1), self.eps.repeat_interleave(a.shape[1]))
        return (a * x).sum(2) - drop.view(a.shape[:2])

    def cast(self, dtype: torch.dtype) -> "Ball":
        """The same in another type, rounded to nearest."""
        return Ball(self.norm, *(t.to(dtype) for t in (self.x, self.eps, self.low, self.high)))

    def take(self, rows: Tensor) -> "Ball":
        """Return the balls of some samples, by index or mask."""
        return Ball(self.norm, *(rows_of(t, rows) for t in (self.x, self.eps, self.low, self.high)))


def rows_of(t: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a tensor, by index or mask; a single row, or one that stands for all, is repeated without a copy."""
    if rows.dtype == torch.bool or (len(t) > 1 and t.stride(0)):
        return t[rows]
    return t[:1].expand(len(rows), *t.shape[1:])


def ball_around(x: Tensor, eps: float | Tensor, norm: str, bounds: tuple[float, float]) -> Ball:
    """Return the ball around x (N, ...), with a box one float64 wider than in real arithmetic on either side.

    Args:
        x: images of any floating-point type; float64 holds them exactly.
        eps: the radius, a number or (N,).
        norm: linf, l2, l1 or l0.
        bounds: the range of the pixels.
    """
    found = get_norm(norm)
    x = x.double()
    radii = torch.as_tensor(eps, dtype=torch.float64, device=x.device).expand(len(x))
    reach = per_row(found.reach(radii), x)
    low = torch.nextafter(x - reach, x.new_tensor(-torch.inf)).clamp(min=bounds[0])
    high = torch.nextafter(x + reach, x.new_tensor(torch.inf)).clamp(max=bounds[1])
    return Ball(found, x, radii, torch.minimum(low, x), torch.maximum(high, x))
