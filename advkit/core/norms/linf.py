"""`linf`: the largest absolute entry."""

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.norms.l1 import L1
from advkit.core.norms.norm import Norm
from advkit.core.norms.row_by_row import clipped, largest_entry, least_level


class LInf(Norm):
    """The largest absolute entry."""

    name = "linf"
    boxed = True

    def size(self, d: Tensor) -> Tensor:
        return largest_entry(d)

    def dual_size(self, g: Tensor) -> Tensor:
        return L1().size(g)

    def steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def project(self, d: Tensor, eps: Tensor | float) -> Tensor:
        return clipped(d, eps)

    def prox(self, d: Tensor, t: Tensor) -> Tensor:
        return d - L1().project(d, t)

    def sample(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        return (2 * draws.uniform(step, tuple(like.shape[1:])) - 1) * eps

    def start(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        return self.sample(like, eps, draws, step)

    def rise(self, slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
        return torch.minimum(room, least_level(slope, torch.where(slope > 0, room, 0.0), need)) * (slope > 0)

    def maximise(self, g: Tensor, x: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        over = g.sign().mul_(2 * eps.to(torch.promote_types(g.dtype, torch.float32))).add_(x)
        return over.clamp_(low, high)  # from twice as far back onto the exact edge

    def pull(self, x: Tensor, x_adv: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return x_adv.to(x.dtype)  # the box around the ball is the ball, and the box is exact

    def within(self, x: Tensor, x_adv: Tensor, eps: Tensor) -> Tensor:
        return x_adv.to(x.dtype)
