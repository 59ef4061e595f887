"""What an attacker may do: the part of a ball around the image that lies within the range of the pixels."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.blocks import blockwise
from advkit.core.draws import Draws
from advkit.core.large import is_large
from advkit.core.norms import Norm, get_norm, per_row, step_toward


class Region(NamedTuple):
    """The feasible points around a batch; one row a sample.

    Attributes:
        norm: the norm of the ball.
        x: the centres (N, ...).
        eps: the radii (N, 1, ...) float64; inf if only the range limits the perturbation.
        low: the least feasible value of every entry (N, ...), x's type.
        high: the largest feasible value of every entry (N, ...), x's type.
        most: an upper bound of the radii, a Python number.
        lowest, highest: the range of the pixels.
    """

    norm: Norm
    x: Tensor
    eps: Tensor
    low: Tensor
    high: Tensor
    most: float = math.inf
    lowest: float = 0.0
    highest: float = 1.0

    @property
    def span(self) -> float:
        """The width of the range of the pixels: lengths that an attack has by default scale with it."""
        return self.highest - self.lowest

    @property
    def bounds(self) -> tuple[float, float]:
        """The range of the pixels. Beyond the edge of an image, and in the dark, is its lower end."""
        return self.lowest, self.highest

    def take(self, rows: Tensor) -> "Region":
        """Return the regions of some samples, by index."""
        return self._replace(x=self.x[rows], eps=self.eps[rows], low=self.low[rows], high=self.high[rows])

    def clamp(self, x_adv: Tensor) -> Tensor:
        """Clamp into the smallest box that contains the region; for linf this box is the region."""
        if is_large(x_adv) and not any(self.low.stride()):  # one number: two steps are vectorised, both at once are not
            return torch.clamp(x_adv, min=self.low).clamp_(max=self.high)
        return torch.clamp(x_adv, self.low, self.high)

    def project(self, x_adv: Tensor) -> Tensor:
        """Project onto the ball, then onto the range; the second projection does not leave the ball."""
        return self.clamp(self.norm.pull(self.x, x_adv, self.eps, self.low, self.high))

    def holds(self, x_adv: Tensor) -> Tensor:
        """(M,) bool: whether x_adv is feasible up to 1e-6 eps and rounding, which `settle` removes."""
        inside = ((x_adv >= self.low) & (x_adv <= self.high)).flatten(1).all(1)
        eps = self.eps.flatten()
        rounding = self.norm.size(self.x * torch.finfo(self.x.dtype).eps).minimum(1e-3 * eps)
        return inside & (self.distance(x_adv) <= eps * (1 + 1e-6) + rounding)

    def step(self, x_adv: Tensor, gradient: Tensor, length: Tensor | float, share: float | Tensor = 0.01) -> Tensor:
        """Step from x_adv along the norm's direction of ascent, see `Norm.ascent`, and project into the region."""
        direction = self.norm.ascent(gradient, x_adv, self.low, self.high, share)
        if isinstance(length, Tensor):
            length = length.to(direction.dtype)  # eps is float64: the step need not be
            if direction.dtype == x_adv.dtype:
                return self._held(torch.addcmul(x_adv, direction, length))
        return self._held(x_adv + length * direction)

    def _held(self, fresh: Tensor) -> Tensor:
        """`project` of points that nobody else holds: large batches are spared a copy."""
        return self.norm.pull(self.x, fresh, self.eps, self.low, self.high).clamp_(self.low, self.high)

    def maximise(self, gradient: Tensor) -> Tensor:
        """Return the feasible point that maximises the linear function with this gradient."""
        point = self.norm.maximise(gradient, self.x, self.eps, self.low, self.high)
        return point.to(self.x.dtype) if self.norm.boxed else self.settle(point)  # in a box it is feasible already

    def start(self, draws: Draws, step: int) -> Tensor:
        """Return a random feasible start; see `Norm.start`."""
        return self.settle(self.x.double() + self.drawn(self.norm.start, self.eps, draws, step))

    def far(self, draws: Draws, step: int) -> Tensor:
        """Return a random feasible point on the surface of the ball, or as far as the range allows; see `Norm.far`."""
        return self.project(self.x.double() + self.drawn(self.norm.far, self.eps, draws, step))

    def drawn(self, draw: Callable[..., Tensor], eps: Tensor, draws: Draws, step: int) -> Tensor:
        """Return a random perturbation (N, ...) float64 by a norm's `sample`, `start` or `far`, in any unit of pixels.

        Norms draw with pixels in units of their range. A count has no unit.
        """
        return self.span * draw(self.x, eps if self.norm.grain else eps / self.span, draws, step)

    def settle(self, x_adv: Tensor) -> Tensor:
        """Convert x_adv to x's type, feasible as measured in float64; `project` ensures this up to rounding only."""
        return self.clamp(self.norm.within(self.x, x_adv, self.eps))

    def narrowed(self, eps: Tensor) -> "Region":
        """Return the part of this region within eps (N,) float64 of x; the box is exact, see `_edge`."""
        eps = per_row(eps, self.x).contiguous()
        most = torch.finfo(self.x.dtype).max / 4
        reach = self.norm.reach(eps).clamp(max=most)
        below = blockwise(partial(_edge, max=0), self.x, -reach)
        above = blockwise(partial(_edge, min=0), self.x, reach)
        return self._replace(eps=eps, low=below.clamp_(min=self.low), high=above.clamp_(max=self.high))

    def free(self, x_adv: Tensor, direction: Tensor) -> Tensor:
        """Set the entries of a direction, (M, ...) or (M, k, ...), to 0 that the range blocks at x_adv."""
        at_low, at_high = x_adv <= self.low, x_adv >= self.high
        if direction.ndim > x_adv.ndim:
            at_low, at_high = at_low[:, None], at_high[:, None]
        return torch.where(at_low & (direction < 0) | at_high & (direction > 0), 0, direction)

    def gauge(self, x_adv: Tensor) -> Tensor:
        """(N,) float64: `distance` up to the rounding of x's type, in few operations; it ranks points within a step."""
        narrow = self.x.dtype in (torch.float16, torch.bfloat16)
        return self.distance(x_adv) if narrow else self.norm.size(x_adv - self.x)

    def widest(self) -> Tensor:
        """(N,) float64: the distance between opposite corners of the range."""
        return self.norm.size(self.high.double() - self.low.double())

    def distance(self, x_adv: Tensor) -> Tensor:
        """(N,) float64: the size of x_adv - x."""
        return blockwise(lambda a, b: self.norm.size(a.to(torch.float64, copy=True).sub_(b.double())), x_adv, self.x)


def _edge(x: Tensor, offset: Tensor, **inside: float) -> Tensor:
    """x + offset (N, 1, ...) float64 as x's type, no further from x than the offset as float64 measures it.

    `inside` is `max=0` below x and `min=0` above it. No mask and few allocations: on small networks these alone would
    be a tenth of FGSM's time.
    """
    wide = x.double()
    exact = wide + offset
    edge = exact.to(x.dtype, copy=True)
    beyond = exact.copy_(edge).sub_(wide).sub_(offset)  # has the sign of the offset where rounding went too far
    beyond = beyond.to(torch.promote_types(x.dtype, torch.float32)).clamp_(**inside)
    back = torch.add(edge, beyond, alpha=-1e30).to(x.dtype)  # far on x's side of the edge there, else the edge
    return step_toward(edge, back)


@dataclass(frozen=True)
class Threat:
    """The threat model: |x_adv - x| <= eps in `norm`, and every entry of x_adv within `bounds`.

    Args:
        norm: linf, l2, l1, l0 or l0_pixels.
        eps: the radius, in the units of the pixels; a number or a tensor (N,), one radius a sample.
        bounds: the range of the pixels.
    """

    norm: str
    eps: float | Tensor = torch.inf
    bounds: tuple[float, float] = (0.0, 1.0)

    def part(self, rows: Tensor, eps: float | Tensor) -> "Threat":
        """Return the threat model of some samples at another radius.

        Args:
            rows: numbers of the samples (M,).
            eps: the radius, a number or a tensor (M,).
        """
        return Threat(self.norm, eps, self.bounds)

    def around(self, x: Tensor) -> Region:
        """Return the region around x (N, ...); the box is computed in float64 and rounded toward x.

        Args:
            x: images (N, ...).
        """
        low, high = (x.new_tensor(bound).expand_as(x) for bound in self.bounds)
        everything = x.new_full((len(x),), torch.inf, dtype=torch.float64)
        lowest, highest = map(float, self.bounds)
        whole = Region(get_norm(self.norm), x, per_row(everything, x), low, high, lowest=lowest, highest=highest)
        if isinstance(self.eps, float) and math.isinf(self.eps):
            return whole
        narrowed = whole.narrowed(torch.as_tensor(self.eps, dtype=torch.float64, device=x.device).expand(len(x)))
        if isinstance(self.eps, Tensor):
            return narrowed._replace(most=float(self.eps.max()) if self.eps.numel() else 0.0)
        return narrowed._replace(most=self.eps)
