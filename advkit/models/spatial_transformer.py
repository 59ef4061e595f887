"""Spatial transformers. Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial transformer networks, arXiv 1506.02025.

Coordinates lie in [-1, 1] over the image and point at pixel centres: column m of W is at (2 m + 1) / W - 1, as with
torch's `align_corners=False`. What lies outside the image is 0.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.core.errors import InputError, unknown

_TINY = 1e-6  # a projective denominator closer to 0 than this counts as this


def regular_grid(size: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Return the target points G of an image (H, W): (H, W, 2), the last axis x, y."""
    y, x = ((2 * torch.arange(n, device=device) + 1) / n - 1 for n in size)
    return torch.stack([x.expand(size[0], -1), y[:, None].expand(-1, size[1])], -1)


def precise(t: Tensor) -> Tensor:
    """Coordinates in float32 or better: 16 bits would move points by whole pixels."""
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t


class Affine(nn.Module):
    """`(x_s, y_s)^T = A_theta (x_t, y_t, 1)^T`, sec. 3.2, equation 1.

    theta (N, 6): the rows of A_theta. Attributes: `identity`, the theta that moves nothing.
    """

    identity = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    target: Tensor

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("target", regular_grid(size), persistent=False)  # (H, W, 2)

    def forward(self, theta: Tensor) -> Tensor:
        """theta (N, 6) -> source points (N, H, W, 2)."""
        return linear_map(precise(theta).reshape(-1, 2, 3), precise(self.target))


class Attention(Affine):
    """Affine with one scale and a translation: theta (N, 3) = s, t_x, t_y; A = [s 0 t_x; 0 s t_y], equation 2."""

    identity = (1.0, 0.0, 0.0)  # type: ignore[assignment]

    def forward(self, theta: Tensor) -> Tensor:
        """theta (N, 3) -> source points (N, H, W, 2)."""
        s, t_x, t_y = precise(theta).unbind(1)
        zero = torch.zeros_like(s)
        return super().forward(torch.stack([s, zero, t_x, zero, s, t_y], 1))


class Projective(Affine):
    """A plane projective transformation: theta (N, 8), the 3x3 matrix by rows without its last entry, 1."""

    identity = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)  # type: ignore[assignment]

    def forward(self, theta: Tensor) -> Tensor:
        """theta (N, 8) -> source points (N, H, W, 2)."""
        theta = precise(theta)
        H = torch.cat([theta, torch.ones_like(theta[:, :1])], 1).reshape(-1, 3, 3)
        x, y, w = linear_map(H, precise(self.target)).unbind(-1)
        w = torch.where(w.abs() < _TINY, torch.full_like(w, _TINY), w)
        return torch.stack([x / w, y / w], -1)


class ThinPlateSpline(nn.Module):
    """The thin-plate spline that carries a regular grid of k x k control points to given places, sec. 4.1.

    theta (N, 2 k^2): x, y of each control point's source, row by row. The spline is linear in them: the kernel
    `r^2 log r^2` is solved once, when the module is built.
    """

    weights: Tensor

    def __init__(self, size: tuple[int, int], *, points: int = 4) -> None:
        super().__init__()
        places = [(2 * i + 1) / points - 1 for i in range(points)]
        self.identity = tuple(v for y in places for x in places for v in (x, y))
        control = torch.tensor(self.identity).reshape(-1, 2)  # (k^2, 2)
        self.register_buffer("weights", _spline_weights(control, regular_grid(size)), persistent=False)  # (k^2, H, W)

    def forward(self, theta: Tensor) -> Tensor:
        """theta (N, 2 k^2) -> source points (N, H, W, 2)."""
        places = precise(theta).reshape(len(theta), -1, 2)  # (N, k^2, 2)
        terms = (
            place[:, None, None] * w[..., None]
            for place, w in zip(places.unbind(1), precise(self.weights), strict=True)
        )
        return torch.stack(list(terms)).sum(0)


def _spline_weights(control: Tensor, target: Tensor) -> Tensor:
    """How much each control point's place counts at each target point: (k^2, H, W).

    The spline is `a + B p + sum_k c_k U(|p - P_k|)` with `sum c = 0` and `sum c P^T = 0`:
    [K P; P^T 0] (c, a, B) = (places, 0).
    """
    control, points = control.double(), target.double().flatten(0, 1)
    count = len(control)
    P = torch.cat([torch.ones(count, 1).double(), control], 1)  # (k^2, 3)
    L = torch.cat([torch.cat([_kernel(control, control), P], 1), torch.cat([P.T, torch.zeros(3, 3).double()], 1)])
    basis = torch.cat([_kernel(points, control), torch.ones(len(points), 1).double(), points], 1)  # (H W, k^2 + 3)
    weights: Tensor = torch.linalg.solve(L, basis.T)[:count]  # L is symmetric; (k^2, H W)
    return weights.reshape(count, *target.shape[:2]).to(target.dtype)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """U(r) = r^2 log r^2 between points (M, 2) and (K, 2): (M, K)."""
    squared = (a[:, None] - b).square().sum(-1)
    return torch.xlogy(squared, squared)


def linear_map(A: Tensor, points: Tensor) -> Tensor:
    """A (N, r, 3) at points (H, W, 2): (N, H, W, r). Sums, not a matrix product, so that autocast leaves it precise."""
    x, y = points[..., 0, None], points[..., 1, None]  # (H, W, 1)
    columns = A[:, None, None]  # (N, 1, 1, r, 3)
    return columns[..., 0] * x + columns[..., 1] * y + columns[..., 2]


def bilinear(U: Tensor, grid: Tensor) -> Tensor:
    """`V_i^c = sum_n sum_m U_nm^c max(0, 1 - |x_i - m|) max(0, 1 - |y_i - n|)`, equation 5.

    Only the four pixels around a point count, which is what torch's sampler adds up. At a kink (on a pixel centre) the
    gradient is that from the right. There is no second derivative.

    Args:
        U: maps (N, C, H, W).
        grid: source points (N, H', W', 2).

    Returns:
        V (N, C, H', W'), of U's dtype.
    """
    points = precise(grid)
    dtype = torch.promote_types(U.dtype, points.dtype)
    V = F.grid_sample(U.to(dtype), points.to(dtype), padding_mode="zeros", align_corners=False)
    return V.to(U.dtype)


def nearest(U: Tensor, grid: Tensor) -> Tensor:
    """`V_i^c = sum_n sum_m U_nm^c delta(floor(x_i + .5) - m) delta(floor(y_i + .5) - n)`, equation 4.

    Args, returns: as `bilinear`. No gradient reaches the points.
    """
    x, y = _pixels(U, grid.detach())
    return _pick(U, (x + 0.5).floor(), (y + 0.5).floor())


def _pixels(U: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows of source points, as real numbers: two (N, H', W')."""
    x, y = precise(grid).unbind(-1)
    H, W = U.shape[2:]
    return ((x + 1) * W - 1) / 2, ((y + 1) * H - 1) / 2


def _pick(U: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """U at whole coordinates (N, H', W'), 0 outside: (N, C, H', W')."""
    H, W = U.shape[2:]
    inside = (columns >= 0) & (columns < W) & (rows >= 0) & (rows < H)
    index = rows.clamp(0, H - 1).long() * W + columns.clamp(0, W - 1).long()  # (N, H', W')
    values = U.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, U.shape[1], -1))
    return values.reshape(*U.shape[:2], *index.shape[1:]) * inside[:, None]


TRANSFORMS: dict[str, type[Affine] | type[ThinPlateSpline]] = {
    "affine": Affine,
    "attention": Attention,
    "projective": Projective,
    "tps": ThinPlateSpline,
}
SAMPLERS = {"bilinear": bilinear, "nearest": nearest}


class SpatialTransformer(nn.Module):
    """Localisation network, grid generator and sampler: it warps its input by a transformation that it predicts.

    Use it in front of a network or inside one, several in series or in parallel. Initially it is the identity.

    Args:
        localisation: network from maps (N, C, H, W) to features (N, features); the last layer of f_loc is added to it.
        features: number of features that the localisation network returns.
        size: size (H', W') of the output.
        transform: kind of transformation: "affine", "attention", "projective" or "tps".
        sampler: kind of sampling: "bilinear", or "nearest" (the localisation network then gets no gradient).

    Raises:
        InputError: there is no such transform or sampler, or a size is below 1.
    """

    def __init__(
        self,
        localisation: nn.Module,
        features: int,
        size: tuple[int, int],
        *,
        transform: str = "affine",
        sampler: str = "bilinear",
    ) -> None:
        super().__init__()
        if transform not in TRANSFORMS:
            raise unknown("transform", transform, TRANSFORMS)
        if sampler not in SAMPLERS:
            raise unknown("sampler", sampler, SAMPLERS)
        if min(size) < 1:
            raise InputError(f"expected a size of at least 1x1, got {size}")
        self.localisation, self.sampler = localisation, sampler
        self.grid = TRANSFORMS[transform](size)
        self.regression = nn.Linear(features, len(self.grid.identity))
        nn.init.zeros_(self.regression.weight)
        with torch.no_grad():
            self.regression.bias.copy_(torch.tensor(self.grid.identity))

    def forward(self, U: Tensor) -> Tensor:
        """Maps U (N, C, H, W) -> V (N, C, H', W')."""
        return SAMPLERS[self.sampler](U, self.points(U))

    def theta(self, U: Tensor) -> Tensor:
        """Return the parameters of the transformation that the localisation network chooses: (N, P)."""
        theta: Tensor = self.regression(self.localisation(U))
        return theta

    def points(self, U: Tensor) -> Tensor:
        """Return the source points (N, H', W', 2) of the output pixels."""
        grid: Tensor = self.grid(self.theta(U))
        return grid

    def extra_repr(self) -> str:
        """Return the sampler."""
        return f"sampler={self.sampler}"


class ParallelTransformers(nn.Module):
    """Several spatial transformers that look at the same maps; their outputs are stacked along the channels.

    Each finds its own transformation, so each may attend to another part (Jaderberg et al., sec. 4.3 and appendix A.1).

    Args:
        branches: the transformers; their outputs have one size.

    Raises:
        InputError: no transformer.
    """

    def __init__(self, branches: Sequence[SpatialTransformer]) -> None:
        super().__init__()
        if not branches:
            raise InputError("expected one spatial transformer or more, got none")
        self.branches = nn.ModuleList(branches)

    def forward(self, U: Tensor) -> Tensor:
        """Maps U (N, C, H, W) -> V (N, T C, H', W'), the channels of the first of T transformers first."""
        return torch.cat([branch(U) for branch in self.branches], 1)
