"""`l2`: the Euclidean length."""

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.norms.norm import Norm, Shrinking
from advkit.core.norms.row_by_row import least_level, of_unit_length, per_row, room_toward


class L2(Norm):
    """The Euclidean length."""

    name = "l2"

    def size(self, d: Tensor) -> Tensor:
        size: Tensor = torch.linalg.vector_norm(d.flatten(1), dim=1, dtype=torch.float64)
        return size

    def dual_size(self, g: Tensor) -> Tensor:
        return self.size(g)

    def steepest(self, g: Tensor) -> Tensor:
        return of_unit_length(g)

    def project(self, d: Tensor, eps: Tensor | float) -> Tensor:
        return d * self._factor(d, eps)

    def prox(self, d: Tensor, t: Tensor) -> Tensor:
        return d - self.project(d, t)

    def shrinking(self, x: Tensor, x_adv: Tensor, low: Tensor, high: Tensor) -> Shrinking:
        """Scale by one factor, then clamp into the box; a ball of the same size would lose what the box cuts off."""
        return lambda point, level: torch.clamp(x + per_row(1 - level, x) * (point - x), low, high)

    def _factor(self, d: Tensor, eps: Tensor | float) -> Tensor:
        """(N, 1, ...): what the rows of d are multiplied with."""
        size = per_row(self.size(d), d).clamp_(min=torch.finfo(torch.float32).tiny)
        return (eps / size).clamp_(max=1).to(d.dtype)

    def pull(self, x: Tensor, x_adv: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        d = x_adv - x
        factor = self._factor(d, eps)
        return (torch.addcmul(x, d, factor) if d.dtype == x.dtype else x + d * factor).to(x.dtype)

    def sample(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        direction = of_unit_length(draws.normal(step, tuple(like.shape[1:])))
        radius = draws.uniform(step, (1,)) ** (1 / like[0].numel())
        return direction * per_row(radius, like) * eps

    def rise(self, slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
        level = least_level(slope**2, torch.where(slope > 0, room / slope.clamp(min=1e-300), 0.0), need)
        return torch.where(slope > 0, torch.minimum(room, slope * level), 0.0)

    def ceiling(self, slope: Tensor, room: Tensor, eps: Tensor) -> Tensor:
        # Weak duality: for every t > 0 the value is at most max over the box of <slope, d> + (eps^2 - |d|^2) / (2 t),
        # reached at d = min(t slope, room). The t that spends eps is sought by bisection of |d| = eps.
        box = (slope * room).sum(1)
        length = torch.linalg.vector_norm(slope, dim=1).clamp(min=1e-300)
        t = eps / length  # without the box, and a lower bound with it
        for _ in range(8):  # entries that reach their room leave the rest of eps to the others
            held = t[:, None] * slope >= room
            spent = torch.where(held, room, 0.0).square().sum(1)
            moving = torch.where(held, 0.0, slope).square().sum(1)
            t = torch.maximum(t, ((eps**2 - spent).clamp(min=0) / moving.clamp(min=1e-300)).sqrt())
            t = t.clamp(max=1e100)
        t = t.detach()  # at the best t its own derivative is 0
        d = torch.minimum(t[:, None] * slope, room)
        slack = (eps**2 - d.square().sum(1)) / (2 * t.clamp(min=1e-300))
        dual = (slope * d).sum(1) + torch.where(eps > 0, slack, 0.0)
        return torch.minimum(torch.minimum(box, eps * length), torch.where(eps > 0, dual, 0.0))

    def maximise(self, g: Tensor, x: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        # d = clamp(t g, low, high) for the t that spends eps: entries reach their bound in the order of room / |g|.
        slope = of_unit_length(g).double().flatten(1).abs()
        room = room_toward(g, x, low, high)
        rate = torch.where(room > 0, slope / room, torch.where(slope > 0, torch.inf, 0.0))
        order = rate.argsort(dim=1, descending=True, stable=True)
        slope_, room_ = slope.gather(1, order), room.gather(1, order)
        spent = (room_**2).cumsum(1) - room_**2  # by the entries at their bound
        rest = (slope_**2).flip(1).cumsum(1).flip(1)  # of the entries that still move
        t = ((eps.double().flatten(1) ** 2 - spent).clamp(min=0) / rest.clamp(min=1e-300)).sqrt()
        # The right t is the first whose next entry is not past its bound; the sequence of candidates decides it.
        inside = t * slope_ <= room_
        first = inside.to(torch.int8).argmax(1, keepdim=True)
        t = torch.where(inside.any(1, keepdim=True), t.gather(1, first), torch.inf)
        size = torch.where(slope > 0, (t * slope).nan_to_num(0.0), 0.0).minimum(room)
        return x.double() + size.view_as(g) * g.sign()
