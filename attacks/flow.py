"""stAdv: Xiao, Zhu, Li, He, Liu, Song 2018, section 3 (arXiv 1801.02612)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.adam import Adam, at_rest
from advkit.attacks.parts.rendered import RenderedAttack, State
from advkit.core.attack import register_attack
from advkit.core.door import check_between, check_positive
from advkit.core.errors import InputError
from advkit.core.norms import get_norm, per_row
from advkit.core.oracle import Oracle
from advkit.core.threat import Region
from advkit.models.spatial_transformer import bilinear, precise, regular_grid


class Memory(NamedTuple):
    """Adam's moments, and how many steps they have seen."""

    adam: Adam
    k: Tensor  # (M,) int64


@register_attack("flow")
@dataclass(frozen=True, kw_only=True)
class Flow(RenderedAttack):
    """Every pixel is taken from a place nearby, and neighbours from places that lie alike.

    `x_adv(p) = x(p + f(p))`, bilinear; Adam on the flow f raises `loss - tau * L_flow(f)`, where L_flow is the sum of
    `norm(f(p) - f(q))` over pairs of neighbours. The loss's gradient is scaled to length 1 a number, so that tau means
    the same for logits of any scale. A place beyond the edge is the edge.

    `Result.size` is L_flow over the number of pixels, in pixels. The threat is no lp ball: eps is infinite by default;
    with an eps, images are brought into the ball as well.

    Cost per sample: `steps` gradients and `steps` + 2 queries.

    Args:
        steps: number of steps.
        tau: weight of the roughness of the flow.
        lr: length of the first step, in pixels.
    """

    paper = "Xiao et al. 2018, arXiv 1801.02612"
    measures = "mean difference between the flow at neighbouring pixels, in pixels"

    tau: float = 0.05
    lr: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("tau", self.tau, 0, 1e6)
        check_positive("lr", self.lr)

    def at_rest(self, oracle: Oracle) -> tuple[Tensor, Memory]:
        """No flow."""
        x = oracle.x
        if x.ndim != 4:
            raise InputError(f"flow moves the pixels of images (N, C, H, W), got images of shape {tuple(x.shape[1:])}")
        f = precise(x).new_zeros(len(x), 2, *x.shape[2:])
        return f, Memory(at_rest(f), torch.zeros(len(x), dtype=torch.int64, device=x.device))

    def render(self, region: Region, theta: Tensor) -> Tensor:
        """Return the image along the flow theta (M, 2, H, W), in pixels to the right and down."""
        return flowed(region.x, theta)

    def size(self, region: Region, theta: Tensor) -> Tensor:
        """Return the roughness of the flow."""
        return roughness(theta).double() / theta[0, 0].numel()

    def slope(self, region: Region, theta: Tensor, gradient: Tensor) -> Tensor:
        """By differences over half a pixel to either side.

        At a pixel's centre, where the flow begins, the bilinear image has a kink: its derivative there sees one of the
        two neighbours only.
        """
        halves = 0.5 * torch.eye(2, dtype=theta.dtype, device=theta.device)[..., None, None]  # (2, 2, 1, 1)
        sides = [flowed(region.x, theta + half) - flowed(region.x, theta - half) for half in halves]
        return torch.stack([(side * gradient).sum(1) for side in sides], 1).to(theta.dtype)

    def move(self, oracle: Oracle, state: State, slope: Tensor) -> tuple[Tensor, Memory]:
        """Take a step of Adam."""
        f = state.theta
        with torch.enable_grad():
            leaf = f.detach().requires_grad_()
            (rough,) = torch.autograd.grad(roughness(leaf, softened=1e-4).sum(), leaf)
        length = get_norm("l2").size(slope).clamp(min=1e-30) / slope[0].numel() ** 0.5
        pull = self.tau * rough - (slope / per_row(length, slope).to(slope.dtype))
        memory = Memory(state.memory.adam.updated(pull), state.memory.k + 1)
        return f - memory.adam.move(memory.k, torch.full_like(memory.k, self.lr, dtype=torch.float64)), memory


def flowed(x: Tensor, flow: Tensor) -> Tensor:
    """x (M, C, H, W) sampled at every pixel plus its flow (M, 2, H, W), in pixels to the right and down."""
    H, W = x.shape[2:]
    scale = flow.new_tensor([2 / W, 2 / H])
    places = regular_grid((H, W), flow.device).to(flow) + flow.permute(0, 2, 3, 1) * scale  # (M, H, W, 2)
    edge = 1 - 1 / flow.new_tensor([W, H])  # the centres of the outermost pixels
    return bilinear(x, torch.maximum(torch.minimum(places, edge), -edge))


def roughness(flow: Tensor, softened: float = 0.0) -> Tensor:
    """(M,): the sum over pairs of neighbours of the length of the difference of their flow (M, 2, H, W).

    Args:
        flow: the flow (M, 2, H, W).
        softened: length at which the kink at 0 is rounded off, for gradients.
    """
    down, right = flow.diff(dim=2), flow.diff(dim=3)
    lengths = [(d.square().sum(1) + softened**2).sqrt().flatten(1).sum(1) for d in (down, right)]
    return lengths[0] + lengths[1]
