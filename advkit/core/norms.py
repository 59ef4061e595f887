"""The norms: the only module that depends on p.

A perturbation is a tensor (N, ...) with one row a sample; every method works row by row. `eps` is a number, or a
tensor (N, 1, ...) that broadcasts against the rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError, unknown
from advkit.core.frame import frame
from advkit.core.thresholds import (
    flags,
    kth_largest,
    largest,
    soft_threshold,
    soft_threshold_within,
    top,
    two_thirds_threshold,
)


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (N,) to (N, 1, ...), so that it broadcasts against `like` (N, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _unit(g: Tensor) -> Tensor:
    """Rows scaled to l2 length 1, zero rows kept; nothing under- or overflows on the way."""
    g = g.to(torch.promote_types(g.dtype, torch.float32))
    if g.dtype == torch.float64:  # squares of small numbers are 0: the largest entry becomes 1 first
        g = g / per_row(g.flatten(1).abs().amax(1).clamp_(min=torch.finfo(g.dtype).tiny), g)
    size = torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=torch.float64)
    return (g / per_row(size.clamp_(min=torch.finfo(torch.float64).tiny), g)).to(g.dtype)


def step_toward(values: Tensor, goal: Tensor) -> Tensor:
    """Move each value to the next float of its type in the direction of `goal`; equal values stay."""
    if values.dtype in (torch.float32, torch.float64):
        return torch.nextafter(values, goal)
    bits = values.contiguous().view(torch.int16)  # floats of one sign are ordered as their bits
    away = torch.where((goal > values) == (values > 0), 1, -1).to(torch.int16)
    tiny = torch.where(goal > 0, 1, torch.iinfo(torch.int16).min + 1).to(torch.int16)  # next to 0
    moved = torch.where(values == 0, tiny, bits + away).view(values.dtype)
    return torch.where(goal == values, values, moved)


def rounded_toward(x: Tensor, point: Tensor) -> Tensor:
    """Round `point` (float64) to x's type, such that no entry moves away from x."""
    near, x_ = point.to(x.dtype), x.double()
    return torch.where((near.double() - x_).abs() > (point - x_).abs(), step_toward(near, x), near)


def _room(g: Tensor, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(N, D) float64: how far each entry may go in the direction of g."""
    return torch.where(g > 0, high.double() - x.double(), x.double() - low.double()).flatten(1)


def _level(weight: Tensor, limit: Tensor, need: Tensor) -> Tensor:
    """(N, 1): the least t with sum_i weight_i min(t, limit_i) >= need; inf where there is none. All (N, D) >= 0."""
    limit_, order = limit.sort(dim=1)
    weight_ = weight.gather(1, order)
    full = weight_ * limit_
    stopped = full.cumsum(1) - full  # from the entries that have reached their limit
    moving = weight_.flip(1).cumsum(1).flip(1)  # of the others
    t = (need - stopped) / moving.clamp(min=1e-300)
    inside = t <= limit_
    first = inside.to(torch.int8).argmax(1, keepdim=True)
    return torch.where(inside.any(1, keepdim=True), t.gather(1, first), torch.inf)


Shrinking = Callable[[Tensor, Tensor], Tensor]
"""Points (N, ...) and levels (N,) -> points (N, ...)."""


class Norm(ABC):
    """A norm on the pixels of one image.

    `sparse`: a steepest step moves few entries. `boxed`: the balls are boxes, and so is their part within the range.
    """

    name: str
    grain: float = 0.0
    sparse = False
    boxed = False

    @abstractmethod
    def size(self, d: Tensor) -> Tensor:
        """(N, ...) -> (N,) float64: the norm of each row."""

    @abstractmethod
    def dual_size(self, g: Tensor) -> Tensor:
        """(N, ...) -> (N,) float64: the largest <g, d> over |d| <= 1."""

    @abstractmethod
    def steepest(self, g: Tensor) -> Tensor:
        """The d of size 1 with the largest <g, d>; 0 for a row of g that is 0."""

    def ascent(self, g: Tensor, x_adv: Tensor, low: Tensor, high: Tensor, share: float | Tensor) -> Tensor:
        """The direction of an iterative step, of size 1; only l1 uses `share`, a number or (M,)."""
        return self.steepest(g)

    def frame(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(c, h, w): an image has h x w places of c entries that count as one; c is 1 except for norms over pixels."""
        channels, height, width = frame(shape)
        return 1, channels * height, width

    def places(self, d: Tensor) -> Tensor:
        """(N, c, h * w): d reshaped to the places of `frame`."""
        channels, height, width = self.frame(tuple(d.shape[1:]))
        return d.reshape(len(d), channels, height * width)

    def stride(self, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(N, 1, ...): the length of which the default step size is a fraction."""
        return eps

    @abstractmethod
    def project(self, d: Tensor, eps: Tensor | float) -> Tensor:
        """The point in the ball of radius eps that is nearest to d in l2."""

    @abstractmethod
    def sample(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        """A uniform sample from the ball of radius eps, (N, ...) float64 (l0: uniform entries at uniform places)."""

    def start(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        """A random start for an attack, (N, ...) float64: `sample` in a ball of uniformly random radius <= eps.

        Except for linf, a uniform sample of the whole ball would lie near the surface, where nearly all of the volume
        of a high-dimensional ball is. Attacks that begin there fool fewer samples.
        """
        return self.sample(like, eps, draws, step) * per_row(draws.uniform(step, (1,), stream=3).squeeze(1), like)

    def far(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        """A random point on the surface of the ball, (N, ...) float64; for l1 one with few entries."""
        d = self.sample(like, 1.0, draws, step)
        return d * (eps / per_row(self.size(d).clamp(min=1e-300), like))

    @abstractmethod
    def maximise(self, g: Tensor, x: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The x_adv with the largest <g, x_adv - x> over |x_adv - x| <= eps and low <= x_adv <= high.

        [low, high] lies within `reach` of x; the result is exact for linf, and float64 to be rounded for the others.
        """

    @abstractmethod
    def rise(self, slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
        """The smallest e, 0 <= e <= room, with <slope, e> >= need; room where that is not enough.

        slope and room (N, D) float64 >= 0, need (N, 1) float64 >= 0.
        """

    def across(self, g: Tensor, need: Tensor, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(N, ...) float64: the smallest d with <g, d> = need, low <= x + d <= high; the nearest to it in the box.

        need (N,) float64, of either sign.
        """
        g = g.double() * per_row(torch.where(need < 0, -1.0, 1.0), g)
        moves = self.rise(g.flatten(1).abs(), _room(g, x, low, high).clamp(min=0), need.abs()[:, None])
        return moves.view_as(g) * g.sign()

    def reach(self, eps: Tensor) -> Tensor:
        """The largest |d_i| in the ball of radius eps."""
        return eps

    def ceiling(self, slope: Tensor, room: Tensor, eps: Tensor) -> Tensor:
        """(N,): an upper bound of <slope, d> over |d| <= eps and 0 <= d <= room, tight up to rounding.

        `maximise` finds the point; this bounds the value from above, however that search rounds.

        Args:
            slope: coefficients (N, D) float64, all >= 0.
            room: largest value of every entry (N, D) float64, all >= 0, within `reach` of 0.
            eps: the radii (N,) float64.
        """
        return (slope * room).sum(1)

    def pull(self, x: Tensor, x_adv: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Move x_adv into the ball around x, up to the rounding of its type; clamping it afterwards keeps it there."""
        return (x + self.project(x_adv - x, eps)).to(x.dtype)

    @abstractmethod
    def prox(self, d: Tensor, t: Tensor) -> Tensor:
        """The u with the least t |u| + |u - d|^2 / 2, the second size being l2; t (N, 1, ...) >= 0.

        In place of a count: of the sum of the places' l2 lengths to the power 2/3, which small steps can lower.
        """

    def shrinking(self, x: Tensor, x_adv: Tensor, low: Tensor, high: Tensor) -> Shrinking:
        """`at(point, level)` moves a point (N, ...) toward x in this norm and into the box; at level 0 to x_adv's size.

        At level 1 (N,) it is x. <b, at(point + s b, level)> rises with s.
        """
        size = per_row(self.size(x_adv - x), x)

        def at(point: Tensor, level: Tensor) -> Tensor:
            return torch.clamp(x + self.project(point - x, per_row(1 - level, x) * size), low, high)

        return at

    def within(self, x: Tensor, x_adv: Tensor, eps: Tensor) -> Tensor:
        """Convert x_adv to x's type, inside the ball as measured in float64; rows that are inside do not change."""
        near = x_adv.to(x.dtype)
        landed = rounded_toward(x, x.double() + self.project(x_adv.double() - x.double(), eps))
        inside = self.size(near.double() - x.double()) <= eps.flatten()
        return torch.where(inside.view(eps.shape), near, landed)

    def __repr__(self) -> str:
        return self.name


class LInf(Norm):
    """The largest absolute entry."""

    name = "linf"
    boxed = True

    def size(self, d: Tensor) -> Tensor:
        return d.flatten(1).abs().amax(1).double()

    def dual_size(self, g: Tensor) -> Tensor:
        return L1().size(g)

    def steepest(self, g: Tensor) -> Tensor:
        return g.sign()

    def project(self, d: Tensor, eps: Tensor | float) -> Tensor:
        eps = torch.as_tensor(eps, dtype=torch.float64, device=d.device)
        return torch.clamp(d, -eps, eps).to(d.dtype)

    def prox(self, d: Tensor, t: Tensor) -> Tensor:
        return d - L1().project(d, t)

    def sample(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        return (2 * draws.uniform(step, tuple(like.shape[1:])) - 1) * eps

    def start(self, like: Tensor, eps: Tensor | float, draws: Draws, step: int) -> Tensor:
        return self.sample(like, eps, draws, step)

    def rise(self, slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
        return torch.minimum(room, _level(slope, torch.where(slope > 0, room, 0.0), need)) * (slope > 0)

    def maximise(self, g: Tensor, x: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        over = g.sign().mul_(2 * eps.to(torch.promote_types(g.dtype, torch.float32))).add_(x)
        return over.clamp_(low, high)  # from twice as far back onto the exact edge

    def pull(self, x: Tensor, x_adv: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return x_adv.to(x.dtype)  # the box around the ball is the ball, and the box is exact

    def within(self, x: Tensor, x_adv: Tensor, eps: Tensor) -> Tensor:
        return x_adv.to(x.dtype)


class L2(Norm):
    """The Euclidean length."""

    name = "l2"

    def size(self, d: Tensor) -> Tensor:
        size: Tensor = torch.linalg.vector_norm(d.flatten(1), dim=1, dtype=torch.float64)
        return size

    def dual_size(self, g: Tensor) -> Tensor:
        return self.size(g)

    def steepest(self, g: Tensor) -> Tensor:
        return _unit(g)

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
        direction = _unit(draws.normal(step, tuple(like.shape[1:])))
        radius = draws.uniform(step, (1,)) ** (1 / like[0].numel())
        return direction * per_row(radius, like) * eps

    def rise(self, slope: Tensor, room: Tensor, need: Tensor) -> Tensor:
        level = _level(slope**2, torch.where(slope > 0, room / slope.clamp(min=1e-300), 0.0), need)
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
        slope = _unit(g).double().flatten(1).abs()
        room = _room(g, x, low, high)
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


class L1(Norm):
    """The sum of the absolute entries."""

    name = "l1"
    sparse = True

    def size(self, d: Tensor) -> Tensor:
        return d.double().flatten(1).abs().sum(1)

    def dual_size(self, g: Tensor) -> Tensor:
        return LInf().size(g)

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
        """The point in ball and box that is nearest to x_adv in l2: the exact one, not two successive projections.

        Croce and Hein 2021 (arXiv 2103.01208, proposition 2.1): every entry shrinks by the same theta and no further
        than its room. The size that is left is piecewise linear in theta; its slope changes at |d| - room and at |d|.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        x_, x_adv_, radius = x.to(wide), x_adv.to(wide), eps.flatten(1).to(wide)
        d, most = x_adv_ - x_, (torch.clamp(x_adv_, low, high) - x_).abs_()
        return (x_ + soft_threshold_within(d.flatten(1), most.flatten(1), radius).view_as(d)).to(x.dtype)

    def prox(self, d: Tensor, t: Tensor) -> Tensor:
        return d - LInf().project(d, t)

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
        room = _room(g, x, low, high)
        room = torch.where(slope > 0, room, 0.0)
        order = slope.argsort(dim=1, descending=True, stable=True)
        room_ = room.gather(1, order)
        left = (eps.double().flatten(1) - (room_.cumsum(1) - room_)).clamp(min=0)
        size = torch.zeros_like(room_).scatter(1, order, torch.minimum(room_, left))
        return x.double() + size.view_as(g) * g.sign()


class L0(Norm):
    """The number of entries that differ from 0: entries, not pixels of several channels, which are `l0_pixels`."""

    name = "l0"
    grain = 1.0

    def size(self, d: Tensor) -> Tensor:
        return (d.flatten(1) != 0).sum(1).double()

    def dual_size(self, g: Tensor) -> Tensor:
        return LInf().size(g)

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
        """The point in ball and box that is nearest to x_adv in l2.

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
        """The same as `sample`: for l0 a smaller ball would not be a better start."""
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
        moves = g.sign() * _room(g, x, low, high).clamp(min=0).view_as(g)
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


NORMS: dict[str, Norm] = {norm.name: norm for norm in (LInf(), L2(), L1(), L0(), L0Pixels())}


def get_norm(name: str) -> Norm:
    """The norm called `linf`, `l2`, `l1`, `l0` or `l0_pixels`.

    Raises:
        UnknownNameError: any other name.
    """
    if name not in NORMS:
        raise unknown("norm", str(name), NORMS)
    return NORMS[name]
