"""A classifier whose boundary is an ellipsoid and whose nearest adversarial point is known.

With equal curvatures these are the concentric spheres of Gilmer et al. 2018, "Adversarial spheres" (arXiv 1801.02774).
Each solution is one monotone equation in one unknown, solved by bisection to rounding.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from advkit.core.door import check_positive, check_shape, generator
from advkit.core.errors import InputError, unknown

Solver = Callable[[Tensor, Tensor, float], Tensor]
"""(|x - centre| (N, D), curvature (D,), level) -> the nearest |x_adv - centre| (N, D) at the level."""


class QuadraticClassifier(nn.Module):
    """Class 1 outside the ellipsoid `sum(curvature * (x - centre)^2) = level`, class 0 inside; logits (-s, s) / 2.

    Args:
        centre: (D,), centre of the ellipsoid in the units of the pixels, within the bounds of the images.
        curvature: (D,), curvatures > 0.
        level: level of the boundary, > 0.

    Raises:
        InputError: shapes or signs do not fit.
    """

    def __init__(self, centre: Tensor, curvature: Tensor, level: float) -> None:
        super().__init__()
        if centre.ndim != 1 or curvature.shape != centre.shape or not bool((curvature > 0).all()):
            raise InputError("expected a centre (D,) and a curvature (D,) > 0")
        self.centre, self.curvature = nn.Parameter(centre.detach().clone()), nn.Parameter(curvature.detach().clone())
        self.level = check_positive("level", level)
        self.code = ""

    @classmethod
    def random(cls, input_shape: tuple[int, ...] = (1, 4, 4), *, seed: int = 0) -> "QuadraticClassifier":
        """Make one with curvatures from .5 to 2 around a centre near grey; uniform noise lies on both sides.

        Args:
            input_shape: shape of one image.
            seed: seed of the weights; torch's random state is not used.

        Raises:
            InputError: a number is outside its range, or none.
        """
        source, input_shape = generator(seed), check_shape("input_shape", input_shape)
        noise = torch.rand(2, math.prod(input_shape), generator=source, dtype=torch.float64)
        curvature = 0.5 + 1.5 * noise[0]
        made = cls(0.45 + 0.1 * noise[1], curvature, float(curvature.sum()) / 12)
        made.code = f"QuadraticClassifier.random({input_shape}, seed={seed})"
        return made

    def __repr__(self) -> str:
        return self.code or super().__repr__()

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, 2)."""
        half = self._excess(x.flatten(1).to(self.centre.dtype)) / 2
        return torch.stack([-half, half], 1)

    def _excess(self, flat: Tensor) -> Tensor:
        return (self.curvature * (flat - self.centre) ** 2).sum(1) - self.level

    def nearest(
        self, x: Tensor, y: Tensor, norm: str, *, bounds: tuple[float, float] | None = (0, 1)
    ) -> tuple[Tensor, Tensor]:
        """Return the nearest point at which the classes tie, for images of class y.

        Every larger ball contains an adversarial point, and no smaller ball does.

        Args:
            x: images (N, ...).
            y: true classes (N,), 0 or 1.
            norm: norm of the distance: linf, l2 or l1.
            bounds: the range of the pixels; None for no limit.

        Returns:
            The distance (N,) float64, 0 if the image is on the other side already and inf if no point reaches it, and
            the point (N, ...) float64, a copy of x in both of these cases.

        Raises:
            InputError: the bounds cut off the solution for l2 or l1 (out of the ellipsoid that is no convex problem;
                bounds=None gives a lower bound), or the centre lies outside the bounds.
        """
        if norm not in _IN:
            raise unknown("norm of QuadraticClassifier.nearest", norm, _IN)
        with torch.no_grad():
            self._check_centre(bounds)
            flat = x.detach().double().flatten(1)
            centre, a = self.centre.double(), self.curvature.double()
            d, excess = flat - centre, self._excess(flat)
            low, high = (-torch.inf, torch.inf) if bounds is None else bounds
            sign = torch.where((d < 0) | ((d == 0) & (centre - low > high - centre)), -1.0, 1.0)
            sides = (
                torch.where(sign > 0, high - centre, centre - low),
                torch.where(sign > 0, centre - low, high - centre),
            )
            out = _linf_out(d.abs(), a, self.level, *sides) if norm == "linf" else _OUT[norm](d.abs(), a, self.level)
            delta = sign * torch.where((y == 0)[:, None], out, _IN[norm](d.abs(), a, self.level)) - d
            delta = torch.where((torch.where(y == 0, excess, -excess) >= 0)[:, None], 0.0, delta)
            distance = _size(norm, delta)
            delta = torch.where(distance.isfinite()[:, None], delta, 0.0)
            self._check_inside(flat + delta, bounds, norm)
            return distance, (flat + delta).view(x.shape)

    def _check_centre(self, bounds: tuple[float, float] | None) -> None:
        if bounds and not bool(((self.centre >= bounds[0]) & (self.centre <= bounds[1])).all()):
            raise InputError(f"expected a centre within the bounds {bounds}; bounds=None gives a lower bound")

    def _check_inside(self, points: Tensor, bounds: tuple[float, float] | None, norm: str) -> None:
        beyond = 0.0 if bounds is None else float(torch.maximum(bounds[0] - points, points - bounds[1]).max())
        if beyond > 1e-9:
            raise InputError(
                f"the nearest {norm} point lies {beyond:.3g} outside the bounds and the nearest within is not known; "
                "bounds=None gives a lower bound of the distance"
            )


def _size(norm: str, d: Tensor) -> Tensor:
    """(N,): written apart from `advkit.core.norms`, which it is to test."""
    sizes = {"linf": d.abs().amax(1), "l2": d.square().sum(1).sqrt(), "l1": d.abs().sum(1)}
    return torch.where(d.isinf().any(1), torch.inf, sizes[norm])


def _bisect(reached: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """(N, 1): the least t of an interval at which `reached` (N, 1) holds, if it holds from there on."""
    for _ in range(100):
        middle = (low + high) / 2
        yes = reached(middle)
        low, high = torch.where(yes, low, middle), torch.where(yes, middle, high)
    return high


def _linf_out(d: Tensor, a: Tensor, level: float, near: Tensor, far: Tensor) -> Tensor:
    """Every entry goes as far from the centre as it may: to its own side (at most `near`) or across (`far`)."""
    widest = 2 * d.amax(1, keepdim=True) + 2 * math.sqrt(level / float(a.min()))

    def at(eps: Tensor) -> Tensor:
        own, across = torch.minimum(d + eps, near), torch.minimum(eps - d, far)
        return torch.where(across > own, -across, own)

    def reached(eps: Tensor) -> Tensor:
        return (a * at(eps) ** 2).sum(1, keepdim=True) >= level

    eps = _bisect(reached, torch.zeros_like(widest), widest)
    return torch.where(reached(eps), at(eps), torch.inf)


def _l2_out(d: Tensor, a: Tensor, level: float) -> Tensor:
    """d / (1 - t a): t grows to 1 / max a, where what is missing goes into an entry of the largest curvature."""
    share = a / a.max()

    def at(log: Tensor) -> Tensor:  # log of m = 1 - t max a, from 0 downwards
        m = log.exp()
        return d / (m + (1 - m) * (1 - share))

    start = torch.zeros_like(d[:, :1])
    log = -_bisect(lambda t: (a * at(-t) ** 2).sum(1, keepdim=True) >= level, start, start + 80)
    size = at(log)
    missing = (level - (a * size**2).sum(1)).clamp(min=0)
    top = size[:, share.argmax()]
    size[:, share.argmax()] = torch.where(missing > 1e-12 * level, (top**2 + missing / a.max()).sqrt(), top)
    return size


def _l1_out(d: Tensor, a: Tensor, level: float) -> Tensor:
    """One entry makes the whole way: a convex function is largest at a vertex of the ball."""
    missing = (level - (a * d**2).sum(1, keepdim=True)).clamp(min=0)
    ways = (d**2 + missing / a).sqrt() - d
    return d + torch.where(torch.arange(len(a)) == ways.argmin(1, keepdim=True), ways, 0.0)


def _linf_in(d: Tensor, a: Tensor, level: float) -> Tensor:
    """Every entry moves towards the centre by eps."""
    eps = _bisect(
        lambda t: (a * (d - t).clamp(min=0) ** 2).sum(1, keepdim=True) <= level,
        torch.zeros_like(d[:, :1]),
        d.amax(1, keepdim=True),
    )
    return (d - eps).clamp(min=0)


def _l2_in(d: Tensor, a: Tensor, level: float) -> Tensor:
    """d / (1 + t a): the projection onto the ellipsoid."""
    most = ((d**2 / a).sum(1, keepdim=True) / level).sqrt()
    t = _bisect(lambda t: (a * (d / (1 + t * a)) ** 2).sum(1, keepdim=True) <= level, torch.zeros_like(most), most)
    return d / (1 + t * a)


def _l1_in(d: Tensor, a: Tensor, level: float) -> Tensor:
    """The entries of the largest slope a d come down to one slope."""
    start = (a * d).amax(1, keepdim=True)
    t = _bisect(  # how far down from the largest
        lambda t: (a * torch.minimum(d, (start - t) / a) ** 2).sum(1, keepdim=True) <= level,
        torch.zeros_like(start),
        start,
    )
    return torch.minimum(d, (start - t) / a)


_OUT: dict[str, Solver] = {"l2": _l2_out, "l1": _l1_out}
_IN: dict[str, Solver] = {"linf": _linf_in, "l2": _l2_in, "l1": _l1_in}
