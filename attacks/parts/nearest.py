"""The nearest of the boundaries of a linearised classifier: Moosavi-Dezfooli et al. 2015, section 3.2 (1511.04599)."""

from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.best_points import noise_floor
from advkit.core.norms import Norm, per_row
from advkit.core.oracle import Oracle


class Boundary(NamedTuple):
    """Where the linear model of one duel has a lead of 0."""

    lead: Tensor  # (M,): of its class, where it was linearised
    slope: Tensor  # (M,): the lead gained by a move of size 1
    gradient: Tensor  # (M, ...): of the lead


def nearest(norm: Norm, lead: Tensor, gradients: Tensor) -> Boundary:
    """Return the boundary with the least distance in `norm`, of k duels with leads (M, k) and gradients (M, k, ...)."""
    slope = norm.dual_size(gradients.flatten(0, 1)).view(lead.shape)
    closest = torch.where(slope > 0, lead.abs() / slope, torch.inf).argmin(1, keepdim=True)
    gradient = gradients[torch.arange(len(lead), device=lead.device), closest.squeeze(1)]
    return Boundary(lead.gather(1, closest).squeeze(1), slope.gather(1, closest).squeeze(1), gradient)


def onto_boundary(oracle: Oracle, lead: Tensor, gradients: Tensor, overshoot: float) -> Tensor:
    """(M, ...): the least move to a lead of 0 in one of the duels, and beyond; zero where no gradient leads there.

    Args:
        oracle: the oracle that gave the leads and gradients.
        lead: (M, k), the leads at the latest point.
        gradients: (M, k, ...), the gradients of the leads.
        overshoot: share by which the move is lengthened; a margin for rounding is added to it.
    """
    norm = oracle.region.norm
    boundary = nearest(norm, lead.clamp(max=0), gradients)
    rise = (1 + overshoot) * boundary.lead.abs() + 2 * noise_floor(oracle.answer)
    length = (rise / boundary.slope).nan_to_num(0.0, 0.0, 0.0)
    return norm.steepest(boundary.gradient) * per_row(length.to(lead.dtype), boundary.gradient)
