"""Training on noise: Goodfellow et al. 2014, section 6 (arXiv 1412.6572); Cohen et al. 2019 (arXiv 1902.02918)."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core.door import check_between, check_positive
from advkit.core.errors import unknown
from advkit.core.losses import surprise
from advkit.core.pixel_range import leaving_range
from advkit.defenses._loss import TrainingLoss
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense


def _signs(x: Tensor, size: float) -> Tensor:
    return size * (2 * torch.randint_like(x, 2) - 1)


def _uniform(x: Tensor, size: float) -> Tensor:
    return torch.empty_like(x).uniform_(-size, size)


def _normal(x: Tensor, size: float) -> Tensor:
    return size * torch.randn_like(x)


KINDS: dict[str, Any] = {"sign": _signs, "uniform": _uniform, "normal": _normal}


@register_defense("noise")
@dataclass(frozen=True, kw_only=True)
class NoiseLoss(TrainingLoss):
    """`alpha J(theta, x, y) + (1 - alpha) J(theta, x + noise, y)`: training on random noise of a given size.

    "noise(eps=0.25)" is Goodfellow's control, +-eps at every pixel; "noise(eps=0.25, kind=normal)" is the training of a
    base classifier for randomised smoothing, eps being the standard deviation, and there pixels may leave their range.
    One pass in the caller's mode; with alpha > 0 over clean and noisy images together. Batch norm updates once.

    Args:
        eps: size of the noise; the standard deviation of kind "normal".
        kind: kind of noise: "sign", "uniform" or "normal".
        alpha: weight of the clean loss, in [0, 1].
        bounds: range of the pixels.
    """

    paper = "Goodfellow et al. 2014, arXiv 1412.6572; Cohen et al. 2019, arXiv 1902.02918"

    eps: float
    kind: str = "sign"
    alpha: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("eps", self.eps)
        if self.kind not in KINDS:
            raise unknown("kind of noise", str(self.kind), KINDS)
        check_between("alpha", self.alpha, 0, 1)

    @property
    def stays_in_range(self) -> bool:
        """Not with normal noise."""
        return self.kind != "normal"

    @property
    def passes(self) -> int:
        """One, and one more for the clean images."""
        return 1 + (self.alpha > 0)

    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the noisy images."""
        noisy: Tensor = x + KINDS[self.kind](x, self.eps)
        return noisy if self.kind == "normal" else noisy.clamp(*self.bounds)

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Return the mixed cross-entropies."""
        with nullcontext() if self.stays_in_range else leaving_range():
            return self._mixed(network, x, x_adv, y)

    def _mixed(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        if self.alpha == 0:
            return network.mean(lambda logits: surprise(logits, y).mean(), x_adv)

        def term(clean: Tensor, noisy: Tensor) -> Tensor:
            return self.alpha * surprise(clean, y).mean() + (1 - self.alpha) * surprise(noisy, y).mean()

        return network.mean(term, x, x_adv)
