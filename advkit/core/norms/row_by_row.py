"""What several norms compute row by row, one row a sample."""

import torch
from torch import Tensor

from advkit.core.large import is_large


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (N,) to (N, 1, ...), so that it broadcasts against `like` (N, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


def largest_entry(d: Tensor) -> Tensor:
    """(N, ...) -> (N,) float64: the largest absolute entry of each row."""
    return d.flatten(1).abs().amax(1).double()


def clipped(d: Tensor, eps: Tensor | float) -> Tensor:
    """Clamp every entry of d to [-eps, eps], with eps in float64; the type of d is kept."""
    eps = torch.as_tensor(eps, dtype=torch.float64, device=d.device)
    return torch.clamp(d, -eps, eps).to(d.dtype)


def of_unit_length(g: Tensor) -> Tensor:
    """Rows scaled to l2 length 1, zero rows kept; nothing under- or overflows on the way."""
    g, tiny = g.to(torch.promote_types(g.dtype, torch.float32)), torch.finfo(torch.float64).tiny
    if g.dtype == torch.float64:  # squares of small numbers are 0: the largest entry becomes 1 first
        g = g / per_row(g.flatten(1).abs().amax(1).clamp_(min=tiny), g)
    elif is_large(g):  # one copy for both, and a division that need not mix types: the same bits, in less time
        d = g.double()
        size = torch.linalg.vector_norm(d.flatten(1), dim=1)
        return d.div_(per_row(size.clamp_(min=tiny), g)).to(g.dtype)
    size = torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=torch.float64)
    return (g / per_row(size.clamp_(min=tiny), g)).to(g.dtype)


def room_toward(g: Tensor, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(N, D) float64: how far each entry may go in the direction of g."""
    return torch.where(g > 0, high.double() - x.double(), x.double() - low.double()).flatten(1)


def least_level(weight: Tensor, limit: Tensor, need: Tensor) -> Tensor:
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
