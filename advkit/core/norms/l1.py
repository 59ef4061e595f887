"""`l1`: the sum of the absolute entries."""

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.norms.norm import Norm, Shrinking
from advkit.core.norms.row_by_row import clipped, largest_entry, per_row, room_toward
from advkit.core.thresholds import flags, kth_largest, soft_threshold, soft_threshold_within


class L1(Norm):
    """The sum of the absolute entries."""

    name = "l1"
    sparse = True

    def size(self, d: Tensor) -> Tensor:
        return d.flatten(1).abs().sum(1, dtype=torch.float64)

    def dual_size(self, g: Tensor) -> Tensor:
        return largest_entry(g)

    def steepest(self, g: Tensor) -> Tensor:
        flat = g.flatten(1)
        place = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, place, flat.gather(1, place).sign()).view_as(g)

    def ascent(self, g: Tensor, x_adv: Tensor, low: Tensor, high: Tensor, share: float | Tensor) -> Tensor:
        """The signs of the fraction `share` of the entries with the largest |g|, one at least, divided by their number.

        A number is a fraction of the entries that can move (Tramer and Boneh 2019, arXiv 1904.13000, section 3.2). A
        tensor (M,), one a row, is a fraction of all entries (Croce and Hein 2021, arXiv 2103.01208, section 3.3).
        """
        slope, entries = g.abs().flatten(1), g[0].numel()
        if isinstance(share, Tensor):
            count = (share.flatten() * entries + 1e-6).long().clamp(1, entries)[:, None]
            least = kth_largest(slope, count)
        else:
            up = flags(torch.lt, x_adv, high).mul_(flags(torch.gt, g, 0.0))
            down = flags(torch.gt, x_adv, low).mul_(flags(torch.lt, g, 0.0))
            slope.mul_(up.add_(down).flatten(1))
            least = slope.topk(max(1, round(share * entries)), dim=1).values[:, -1:]
        info = torch.finfo(slope.dtype)
        chosen = flags(torch.ge, slope, least.clamp(min=info.smallest_normal * info.eps))  # but for slopes of 0
        return (chosen / chosen.sum(1, keepdim=True).clamp(min=1)).view_as(g) * g.sign()

    def pull(self, x: Tensor, x_adv: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the exact nearest point to x_adv (l2) in ball and box, not that of two successive projections.

        Croce and Hein 2021 (arXiv 2103.01208, proposition 2.1): every entry shrinks by the same theta and no further
        than its room. The size that is left is piecewise linear in theta; its slope changes at |d| - room and at |d|.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        x_, x_adv_, radius = x.to(wide), x_adv.to(wide), eps.flatten(1).to(wide)
        d, most = x_adv_ - x_, (torch.clamp(x_adv_, low, high) - x_).abs_()
        return (x_ + soft_threshold_within(d.flatten(1), most.flatten(1), radius).view_as(d)).to(x.dtype)

    def prox(self, d: Tensor, t: Tensor) -> Tensor:
        return d - clipped(d, t)

    def shrinking(self, x: Tensor, x_adv: Tensor, low: Tensor, high: Tensor) -> Shrinking:
        """Subtract one theta from all entries, as the projection does; the level is theta over the largest entry."""
        largest = (x_adv - x).flatten(1).abs().amax(1)

        def at(point: Tensor, level: Tensor) -> Tensor:
            d = point - x
            left = torch.sub(d.abs(), per_row(level * largest, d)).clamp_(min=0)
            return torch.clamp(x + torch.copysign(left, d), low, high)

        return at

    def project(self, d: Tensor, eps: Tensor | float) -> Tensor:
        radius = torch.as_tensor(eps, dtype=torch.float64, device=d.device).expand(len(d), *[1] * (d.ndim - 1))
        flat = d.flatten(1).to(torch.promote_types(d.dtype, torch.float32))
        return soft_threshold(flat, radius.flatten(1).to(flat.dtype)).view_as(d).to(d.dtype)

    def sample(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        # D exponentials over the sum of D + 1 are uniform in the simplex.
        size = like[0].numel()
        waits = -torch.log1p(-draws.uniform(step, (size + 1,)))
        signs = torch.where(draws.uniform(step, (size,), stream=1) < 0.5, -1.0, 1.0)
        return (signs * waits[:, :-1] / waits.sum(1, keepdim=True)).view(like.shape) * eps

    def far(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        return draws.normal(step, tuple(like.shape[1:]))  # sparse once it is pulled into ball and box

    def rise(self, slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
        slope_, order = slope.sort(dim=1, descending=True, stable=True)
        room_ = room.gather(1, order)
        left = (need - ((slope_ * room_).cumsum(1) - slope_ * room_)).clamp(min=0)
        moves = torch.where(slope_ > 0, torch.minimum(room_, left / slope_.clamp(min=1e-300)), 0.0)
        return torch.zeros_like(room).scatter(1, order, moves)

    def ceiling(self, slope: Tensor, room: Tensor, eps: Tensor) -> Tensor:
        # Weak duality: for every price p >= 0 the value is at most p eps + <max(slope - p, 0), room>.
        slope_, order = slope.sort(dim=1, descending=True, stable=True)
        over = room.gather(1, order).cumsum(1) >= eps[:, None]
        first = over.to(torch.int8).argmax(1, keepdim=True)
        price = torch.where(over.any(1), slope_.gather(1, first).squeeze(1), 0.0)
        return price * eps + ((slope - price[:, None]).clamp(min=0) * room).sum(1)

    def maximise(self, g: Tensor, x: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        # The entry with the largest |g| goes to its bound first, then the next.
        slope = g.flatten(1).abs()
        room = room_toward(g, x, low, high)
        room = torch.where(slope > 0, room, 0.0)
        order = slope.argsort(dim=1, descending=True, stable=True)
        room_ = room.gather(1, order)
        left = (eps.double().flatten(1) - (room_.cumsum(1) - room_)).clamp(min=0)
        size = torch.zeros_like(room_).scatter(1, order, torch.minimum(room_, left))
        return x.double() + size.view_as(g) * g.sign()
