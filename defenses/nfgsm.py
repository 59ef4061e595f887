"""N-FGSM, noise before one step: de Jorge et al. 2022, algorithm 1 (arXiv 2202.01181)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.door import check_finite_eps, check_positive
from advkit.core.losses import surprise
from advkit.defenses._loss import TrainingLoss
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense


@register_defense("nfgsm")
@dataclass(frozen=True, kw_only=True)
class NFGSM(TrainingLoss):
    """J(theta, x_adv, y), x_adv one step of FGSM from `x + U(-k eps, k eps)`, not pulled back into the ball.

    Stronger noise and no projection keep the one step from overfitting catastrophically. Pixels stay in their range.
    The first pass is made in eval mode and leaves no trace; the second in the caller's mode: batch norm updates once.
    The noise is one `torch.empty_like(x).uniform_(-k eps, k eps)` of torch's global generator.

    Args:
        eps: radius of the linf ball that the network is to resist.
        noise: half the width of the noise in units of eps; k in the paper.
        step_size: length of the step; eps by default, as in the paper.
        bounds: range of the pixels.
    """

    paper = "de Jorge et al. 2022, arXiv 2202.01181"

    eps: float
    noise: float = 2.0
    step_size: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite_eps(self.eps)
        check_positive("noise", self.noise)
        check_positive("step_size", self.step_size, optional=True)

    @property
    def passes(self) -> int:
        """Two."""
        return 2

    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """One step from noise."""
        width = self.noise * self.eps
        start = (x + torch.empty_like(x).uniform_(-width, width)).clamp(*self.bounds)
        step = self.eps if self.step_size is None else self.step_size
        return (start + step * network.ascent(start, y).sign()).clamp(*self.bounds)

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of the adversarial examples."""
        return network.mean(lambda logits: surprise(logits, y).mean(), x_adv)
