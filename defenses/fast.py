"""Fast adversarial training: Wong, Rice, Kolter 2020, algorithm 3 (arXiv 2001.03994)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.door import check_finite_eps, check_positive
from advkit.core.float64 import lacks_float64
from advkit.core.losses import surprise
from advkit.core.threat import Threat
from advkit.defenses._loss import TrainingLoss
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense


@register_defense("fast")
@dataclass(frozen=True, kw_only=True)
class Fast(TrainingLoss):
    """J(theta, x_adv, y), where x_adv is one step of FGSM from a uniform point of the linf ball, projected into it.

    Too long a step ends in catastrophic overfitting: the network resists only this step, so watch the error under PGD
    (`advkit train --probe`).

    The first pass is made in eval mode and leaves no trace; the second in the caller's mode: batch norm updates once.
    The start is one `torch.empty_like(x).uniform_(-eps, eps)` of torch's global generator.

    Args:
        eps: radius of the ball.
        step_size: length of the step; 1.25 eps by default, as in the paper.
        bounds: range of the pixels.
    """

    paper = "Wong et al. 2020, arXiv 2001.03994"

    eps: float
    step_size: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite_eps(self.eps)
        check_positive("step_size", self.step_size, optional=True)

    @property
    def passes(self) -> int:
        """Two."""
        return 2

    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """One step from a uniform point."""
        start = (x + torch.empty_like(x).uniform_(-self.eps, self.eps)).clamp(*self.bounds)
        step = 1.25 * self.eps if self.step_size is None else self.step_size
        region = Threat("linf", float(self.eps), self.bounds).around(x.cpu() if lacks_float64(x) else x)
        low, high = region.low.to(x.device), region.high.to(x.device)
        return torch.clamp(start + step * network.ascent(start, y).sign(), low, high)

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """The cross-entropy of the examples."""
        return network.mean(lambda logits: surprise(logits, y).mean(), x_adv)
