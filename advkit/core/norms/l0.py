"""`l0` and `l0_pixels`: the number of entries, or of pixels, that differ from 0."""

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.core.frame import frame
from advkit.core.norms.l1 import L1
from advkit.core.norms.norm import Norm, Shrinking
from advkit.core.norms.row_by_row import largest_entry, per_row, room_toward
from advkit.core.thresholds import largest, top, two_thirds_threshold


class L0(Norm):
    """The number of entries that differ from 0: entries, not pixels of several channels, which are `l0_pixels`."""

    name = "l0"
    grain = 1.0

    def size(self, d: Tensor) -> Tensor:
        return (d.flatten(1) != 0).sum(1).double()

    def dual_size(self, g: Tensor) -> Tensor:
        return largest_entry(g)

    def steepest(self, g: Tensor) -> Tensor:
        return L1().steepest(g)

    def ascent(self, g: Tensor, x_adv: Tensor, low: Tensor, high: Tensor, share: float | Tensor) -> Tensor:
        """The gradient divided by its mean absolute entry: all entries move, and the projection keeps the best few.

        Croce and Hein 2019 (arXiv 1909.05040, section 4).
        """
        g = g.to(torch.promote_types(g.dtype, torch.float32))
        g = g / per_row(g.flatten(1).abs().amax(1).clamp(min=torch.finfo(g.dtype).tiny), g)  # or the mean underflows
        return g / per_row(g.flatten(1).abs().mean(1).clamp(min=torch.finfo(g.dtype).tiny), g)

    def stride(self, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """32 times the range: a step beyond the range ranks the entries by what they gain."""
        return 32 * per_row((high - low).flatten(1).amax(1).double(), eps)

    def pull(self, x: Tensor, x_adv: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the point in ball and box that is nearest to x_adv in l2.

        An entry that moves goes as far as the box allows; the entries that gain most by it move.
        """
        d, moved = x_adv - x, torch.clamp(x_adv, low, high)
        gain = self.places(d.double().square() - (x_adv - moved).double().square()).sum(1)
        return torch.where(self._chosen(gain, eps, x), moved, x).to(x.dtype)

    def prox(self, d: Tensor, t: Tensor) -> Tensor:
        d_ = self.places(d)
        length = torch.linalg.vector_norm(d_, dim=1, keepdim=True)
        shrunk = two_thirds_threshold(length, t.view(-1, 1, 1).to(length.dtype))
        factor: Tensor = shrunk / length.clamp(min=torch.finfo(length.dtype).tiny)
        return (d_ * factor).view_as(d)

    def shrinking(self, x: Tensor, x_adv: Tensor, low: Tensor, high: Tensor) -> Shrinking:
        size = per_row(self.size(x_adv - x), x)
        return lambda point, level: self.pull(x, point, per_row(1 - level, x) * size, low, high)

    def _chosen(self, gain: Tensor, eps: Tensor | float, like: Tensor) -> Tensor:
        """(N, ...) bool: the entries at the eps places with the largest gain (N, P) >= 0."""
        count = torch.as_tensor(eps, dtype=torch.float64, device=gain.device).flatten().expand(len(gain))
        chosen = top(gain, count[:, None])[:, None].bool()
        return chosen.expand_as(self.places(like)).reshape(like.shape)

    def start(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        """Return a random start, as `sample` draws it: for l0 a smaller ball would not be a better start."""
        return self.sample(like, eps, draws, step)

    def project(self, d: Tensor, eps: Tensor | float) -> Tensor:
        count = torch.as_tensor(eps, dtype=torch.float64, device=d.device).expand(len(d), *[1] * (d.ndim - 1))
        return largest(d.flatten(1), count.flatten(1)).view_as(d)

    def sample(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        shape = tuple(like.shape[1:])
        places = self.project(draws.uniform(step, shape) + 1, eps) > 0
        return torch.where(places, 2 * draws.uniform(step, shape, stream=1) - 1, 0.0)

    def rise(self, slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
        gain, order = (slope * room).sort(dim=1, descending=True, stable=True)
        used = (gain.cumsum(1) - gain < need) & (gain > 0)
        return torch.zeros_like(room).scatter(1, order, torch.where(used, room.gather(1, order), 0.0))

    def maximise(self, g: Tensor, x: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        best = torch.where(g > 0, high, torch.where(g < 0, low, x))
        gain = self.project(g.double() * (best.double() - x.double()), eps)
        return torch.where(gain != 0, best, x)

    def ceiling(self, slope: Tensor, room: Tensor, eps: Tensor) -> Tensor:
        return self.project(slope * room, eps[:, None]).sum(1)

    def reach(self, eps: Tensor) -> Tensor:
        return torch.full_like(eps, torch.inf)


class L0Pixels(L0):
    """The number of pixels of which at least one channel differs from 0; in a vector every entry is a pixel."""

    name = "l0_pixels"

    def frame(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        return frame(shape)

    def size(self, d: Tensor) -> Tensor:
        return (self.places(d) != 0).any(1).sum(1).double()

    def dual_size(self, g: Tensor) -> Tensor:
        return self.places(g).double().abs().sum(1).amax(1)

    def steepest(self, g: Tensor) -> Tensor:
        return torch.where(self._chosen(self.places(g).abs().sum(1), 1.0, g), g.sign(), 0.0)

    def project(self, d: Tensor, eps: Tensor | float) -> Tensor:
        return torch.where(self._chosen(torch.linalg.vector_norm(self.places(d), dim=1), eps, d), d, 0.0)

    def sample(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        shape = tuple(like.shape[1:])
        chosen = self._chosen(draws.uniform(step, (self.places(like).shape[2],)) + 1, eps, like)
        return torch.where(chosen, 2 * draws.uniform(step, shape, stream=1) - 1, 0.0)

    def across(self, g: Tensor, need: Tensor, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        g = g.double() * per_row(torch.where(need < 0, -1.0, 1.0), g)
        moves = g.sign() * room_toward(g, x, low, high).clamp(min=0).view_as(g)
        gain = self.places(g * moves).sum(1)
        gain_, order = gain.sort(dim=1, descending=True, stable=True)
        used = (gain_.cumsum(1) - gain_ < need.abs()[:, None]) & (gain_ > 0)
        chosen = torch.zeros_like(used).scatter(1, order, used)[:, None]
        return torch.where(chosen.expand_as(self.places(g)).reshape(g.shape), moves, 0.0)

    def maximise(self, g: Tensor, x: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        best = torch.where(g > 0, high, torch.where(g < 0, low, x))
        gain = self.places(g.double() * (best.double() - x.double())).sum(1)
        return torch.where(self._chosen(gain, eps, x), best, x)

    def ceiling(self, slope: Tensor, room: Tensor, eps: Tensor) -> Tensor:
        # The rows come without their pixels; taken for entries, they would give a bound that is too low.
        raise InputError("expected linf, l2, l1 or l0 as the norm of a bound, got l0_pixels: take l0, eps * channels")
