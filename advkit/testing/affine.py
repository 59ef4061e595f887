"""A classifier whose nearest adversarial point is known: logits = W x + b.

The tests of every attack compare with it, as in adv-lib's suite; here for linf, l2, l1, l0 and l0_pixels, with and
without the range of the pixels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advkit.core.door import check_count, check_shape, generator
from advkit.core.errors import InputError
from advkit.testing._cell import nearest_in_cell
from advkit.testing._halfspace import least_moves


class AffineClassifier(nn.Module):
    """`logits = weight @ x.flatten() + bias`, in the weight's type (float64 by default), for images of any type.

    Args:
        weight: (K, D), weights of K >= 2 classes on the D entries of an image.
        bias: (K,), bias of each class; default: zero.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        if weight.ndim != 2 or len(weight) < 2:
            raise InputError(f"expected a weight of shape (K, D) with K >= 2 classes, got {tuple(weight.shape)}")
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(weight.new_zeros(len(weight)) if bias is None else bias.detach().clone())
        self.code = ""

    def __repr__(self) -> str:
        return self.code or super().__repr__()

    @classmethod
    def random(
        cls, input_shape: tuple[int, ...] = (1, 4, 4), classes: int = 2, *, seed: int = 0, centred: bool = True
    ) -> "AffineClassifier":
        """Make one with normal weights from its own generator; torch's random state is not used.

        Args:
            input_shape: shape of one image.
            classes: number of classes, at least 2.
            seed: seed of the weights.
            centred: True chooses a bias by which all classes tie on the grey image of 0.5, so that every class occurs.

        Raises:
            InputError: a number is outside its range, or none.
        """
        input_shape = check_shape("input_shape", input_shape)
        classes, source = check_count("classes", classes, least=2), generator(seed)
        weight = torch.randn(classes, math.prod(input_shape), generator=source, dtype=torch.float64)
        noise = 0.1 * torch.randn(classes, generator=source, dtype=torch.float64)
        made = cls(weight, noise - 0.5 * weight.sum(1) if centred else noise)
        options = f"seed={seed}" + ("" if centred else ", centred=False")
        made.code = f"AffineClassifier.random({input_shape}, {classes}, {options})"
        return made

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, K)."""
        return F.linear(x.flatten(1).to(self.weight.dtype), self.weight, self.bias)

    def nearest(
        self,
        x: Tensor,
        y: Tensor,
        norm: str,
        *,
        bounds: tuple[float, float] | None = (0, 1),
        target: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the nearest point at which another class ties with y, or the target with all the others.

        Every larger ball contains an adversarial point, and no smaller ball does.

        Args:
            x: images (N, ...).
            y: true classes (N,).
            norm: norm of the distance: linf, l2, l1, l0 or l0_pixels.
            bounds: the range of the pixels; None for no limit.
            target: (N,), the classes to reach. More than two classes have a solution for l2 only.

        Returns:
            The distance (N,) float64, 0 if the goal is reached already and inf if no point reaches it, and the point
            (N, ...) float64, a copy of x in both of these cases.

        Raises:
            InputError: there is a target and more than two classes, and the norm is not l2.
        """
        with torch.no_grad():
            flat = x.detach().double().flatten(1)
            low, high = _box(flat, bounds)
            channels = math.prod(x.shape[1:-2]) if x.ndim > 3 else 1
            if target is None:
                d = self._leave(flat, y, norm, low, high, channels)
            elif len(self.weight) == 2 or norm == "l2":
                d = self._reach(flat, target, norm, low, high, channels)
            else:
                raise InputError(
                    f"the nearest point for a target among {len(self.weight)} classes is known for norm 'l2' only, "
                    f"got {norm!r}; for linf and l1 it is a linear programme (scipy.optimize.linprog)"
                )
            distance = _size(norm, d, channels)
            d = torch.where(distance.isfinite()[:, None], d, 0.0)
            return distance, (flat + d).view(x.shape)

    def _leave(self, flat: Tensor, y: Tensor, norm: str, low: Tensor, high: Tensor, channels: int) -> Tensor:
        """(N, D): the best over the rivals of y, each a half-space; d = 0 where one leads already."""
        weight, logits = self.weight.double(), self(flat).double()
        normals = weight - weight[y][:, None]  # (N, K, D)
        need = logits.gather(1, y[:, None]) - logits  # (N, K)
        d = _across(normals, need, norm, low, high, channels)  # (N, K, D)
        sizes = _size(norm, d.flatten(0, 1), channels).view(need.shape)
        sizes = sizes.scatter(1, y[:, None], torch.inf)
        nearest = sizes.argmin(1)[:, None, None].expand(-1, 1, d.shape[2])
        best = d.gather(1, nearest).squeeze(1)
        return torch.where(sizes.amin(1, keepdim=True).isfinite(), best, torch.inf)

    def _reach(self, flat: Tensor, target: Tensor, norm: str, low: Tensor, high: Tensor, channels: int) -> Tensor:
        """(N, D): into the cell of the target."""
        weight, logits = self.weight.double(), self(flat).double()
        classes = len(weight)
        rivals = (target[:, None] + torch.arange(1, classes, device=target.device)) % classes  # (N, K - 1)
        normals = weight[target][:, None] - weight[rivals]
        need = logits.gather(1, rivals) - logits.gather(1, target[:, None])
        if classes == 2:
            return _across(normals, need, norm, low, high, channels).squeeze(1)
        return nearest_in_cell(normals, need, low, high)


def _box(flat: Tensor, bounds: tuple[float, float] | None) -> tuple[Tensor, Tensor]:
    """(N, D) twice: how far every entry may go down and up."""
    low, high = (-torch.inf, torch.inf) if bounds is None else bounds
    return (low - flat).clamp(max=0), (high - flat).clamp(min=0)


def _across(normals: Tensor, need: Tensor, norm: str, low: Tensor, high: Tensor, channels: int) -> Tensor:
    """(N, M, D): the least move across each of M hyperplanes, one at a time."""
    room = torch.where(normals > 0, high[:, None], -low[:, None])
    moves = least_moves(norm, normals.abs().flatten(0, 1), room.flatten(0, 1), need.flatten(), channels)
    return torch.where(normals != 0, moves.view(normals.shape) * normals.sign(), 0.0).where(
        moves.view(normals.shape).isfinite(), torch.inf
    )


def _size(norm: str, d: Tensor, channels: int) -> Tensor:
    """(M,): of rows (M, D); written apart from `advkit.core.norms`, which it is to test."""
    sizes = {"linf": d.abs().amax(1), "l2": d.square().sum(1).sqrt(), "l1": d.abs().sum(1), "l0": (d != 0).sum(1)}
    sizes["l0_pixels"] = (d.view(len(d), channels, -1) != 0).any(1).sum(1)
    return torch.where(d.isinf().any(1), torch.inf, sizes[norm].double())
