"""What an attack returns."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Result:
    """The outcome of an attack, one row a sample.

    Attributes:
        x_adv: the images found (N, C, H, W), of x's type, device and memory format; for a sample that was never fooled
            the strongest point visited (budget attack) or a copy of x (minimal attack).
        success: (N,) bool, the verdict of a forward pass on the returned `x_adv`: the goal leads, ties do not count.
        distance: (N,) float64, the size of x_adv - x in the attack's norm; inf where a minimal attack failed.
        queries: (N,) int64, forward passes per sample, the verdict included.
        gradients: (N,) int64, backward passes per sample.
        logits: (N, K) of x_adv, as the model returned them.
        zero_gradient: (N,) bool, the gradient was exactly zero at a point that was not adversarial.
        non_finite: (N,) bool, the model answered NaN or infinity at some point of the search; such a point never counts
            as a success, and what lies behind it was not searched.
        unsteady: (N,) bool, the verdict repeated an image seen before and the model answered otherwise: it is random,
            or an image's answer depends on the rest of its batch. Costs no query; False proves nothing.
    """

    x_adv: Tensor
    success: Tensor
    distance: Tensor
    queries: Tensor
    gradients: Tensor
    logits: Tensor
    zero_gradient: Tensor
    non_finite: Tensor = None  # type: ignore[assignment]  # no sample, where left out
    unsteady: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("non_finite", "unsteady"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, torch.zeros_like(self.success))

    def __len__(self) -> int:
        return len(self.x_adv)


def better_of(first: Result, second: Result, prefer: Tensor) -> Result:
    """Sample by sample the stronger of two results on the same images; the costs add up.

    A success beats a failure; otherwise the second wins where `prefer` (N,) bool says so.
    """
    take = (second.success & ~first.success) | ((second.success == first.success) & prefer)

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(take.view(-1, *[1] * (a.ndim - 1)), b, a)

    return Result(
        x_adv=pick(first.x_adv, second.x_adv),
        success=first.success | second.success,
        distance=pick(first.distance, second.distance),
        queries=first.queries + second.queries,
        gradients=first.gradients + second.gradients,
        logits=pick(first.logits, second.logits),
        zero_gradient=first.zero_gradient | second.zero_gradient,
        non_finite=first.non_finite | second.non_finite,
        unsteady=first.unsteady | second.unsteady,
    )
