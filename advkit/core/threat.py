"""What an attacker may do: a ball around the image, cut by the range of the pixels."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.norms import Norm, get_norm, per_row, rounded_toward


class Region(NamedTuple):
    """The feasible points around a batch; one row a sample.

    Attributes:
        norm: the norm of the ball.
        x: the centres (N, ...).
        eps: the radii (N, 1, ...) float64; inf where only the range limits.
        low: the least feasible value of every entry (N, ...), x's type.
        high: the largest.
    """

    norm: Norm
    x: Tensor
    eps: Tensor
    low: Tensor
    high: Tensor

    def clamp(self, x_adv: Tensor) -> Tensor:
        """Back into the smallest box that holds the region: for linf that is the region itself."""
        return torch.clamp(x_adv, self.low, self.high)

    def project(self, x_adv: Tensor) -> Tensor:
        """Into ball and range: onto the ball, then onto the range, which never leaves the ball."""
        return self.clamp(self.norm.pull(self.x, x_adv, self.eps))

    def step(self, x_adv: Tensor, gradient: Tensor, length: Tensor | float) -> Tensor:
        """From x_adv along the norm's steepest direction, and back into the region."""
        return self.project(x_adv + length * self.norm.steepest(gradient))

    def maximise(self, gradient: Tensor) -> Tensor:
        """The feasible point at which the linear function with this gradient is largest."""
        return self.settle(self.norm.maximise(gradient, self.x, self.eps, self.low, self.high))

    def sample(self, draws: Draws, step: int) -> Tensor:
        """A random feasible point: uniform in the ball, then into the range."""
        return self.settle(self.x.double() + self.norm.sample(self.x, self.eps, draws, step))

    def settle(self, x_adv: Tensor) -> Tensor:
        """x_adv as x's type and feasible as float64 measures it: what `project` is up to rounding."""
        return self.clamp(self.norm.within(self.x, x_adv, self.eps))

    def distance(self, x_adv: Tensor) -> Tensor:
        """(N,) float64: the size of x_adv - x."""
        return self.norm.size(x_adv.double() - self.x.double())


@dataclass(frozen=True)
class Threat:
    """The threat model: |x_adv - x| <= eps in `norm`, and every entry of x_adv within `bounds`.

    Args:
        norm: linf, l2, l1 or l0.
        eps: the radius, in the units of the pixels; a number or a tensor (N,), one radius a sample.
        bounds: the range of the pixels.
    """

    norm: str
    eps: float | Tensor = torch.inf
    bounds: tuple[float, float] = (0.0, 1.0)

    def around(self, x: Tensor) -> Region:
        """The region around x (N, ...); the box is computed in float64 and rounded toward x, for eps itself rounds."""
        norm = get_norm(self.norm)
        eps = torch.as_tensor(self.eps, dtype=torch.float64, device=x.device).expand(len(x))
        eps = per_row(eps, x).contiguous()
        reach = norm.reach(eps)
        low, high = (x.new_tensor(bound) for bound in self.bounds)
        below, above = (rounded_toward(x, x.double() + offset) for offset in (-reach, reach))
        return Region(norm, x, eps, below.clamp(min=low), above.clamp(max=high))
