"""TRADES: Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan 2019, section 4 (arXiv 1901.08573)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core.door import check_positive
from advkit.core.errors import InputError
from advkit.core.losses import surprise
from advkit.defenses._loss import AttackedLoss, divergence
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense

LEAST = 1e-12
"""A divergence below this counts as this much: its logarithm is finite, its gradient is kept."""


@register_defense("trades")
@dataclass(frozen=True, kw_only=True)
class TRADES(AttackedLoss):
    """`J(theta, x, y) + beta KL(p(x) || p(x_adv))`, where x_adv is where the attack makes that divergence largest.

    `TRADES(attack=PGD(eps=0.3, steps=40, step_size=0.01), beta=6)`; in a spec "trades(eps=0.3, steps=40, beta=6)".
    The attack climbs the divergence from the clean answer, not the cross-entropy: it sees a network of two classes
    whose cross-entropy of class 0 grows with that divergence. It needs a random start, since the gradient at x is 0:
    PGD's covers the ball, the paper's is x + 0.001 N(0, 1). Attacks that let rows leave the batch are refused.

    The example is made on the model in eval mode and leaves no trace on it. Then one pass in the caller's mode goes
    over clean and adversarial images together: batch norm updates once, on both as one batch, and each image has its
    own dropout mask. Gradients flow through both distributions.

    Args:
        attack: makes the example; its loss is replaced by the divergence.
        beta: weight of the divergence, above 0; 1 / lambda in the paper, where 1 to 6 are used.
        bounds: range of the pixels.

    Raises:
        InputError: no attack, a budget attack without eps, or beta out of its range.
    """

    paper = "Zhang et al. 2019, arXiv 1901.08573"

    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("beta", self.beta)

    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """The points where the attack finds the largest divergence."""
        divergence = _Diverging(network.bare, x)
        return network.attacked(self.attack, x, torch.zeros_like(y), self.bounds, divergence)

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the clean images and divergence of the examples."""

        def term(clean: Tensor, adversarial: Tensor) -> Tensor:
            return surprise(clean, y).mean() + self.beta * divergence(clean, adversarial).mean()

        return network.mean(term, x, x_adv)


class _Diverging(nn.Module):
    """Two logits a sample, of which class 0 has the cross-entropy v = log 2 * KL / (1 + KL), KL = KL(p(x) || p(x_adv)).

    v grows with KL and stays below log 2, so class 0 stays the likelier one: no row is ever fooled and none leaves.
    """

    def __init__(self, model: Any, x: Tensor) -> None:
        super().__init__()
        self.model, self.images = model, x
        self.clean: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, 2); the attack has put the model into eval mode."""
        if len(x) != len(self.images):
            raise InputError("this attack lets samples leave the batch, which TRADES cannot follow: use PGD or its kin")
        if self.clean is None:
            with torch.no_grad():
                self.clean = self.model(self.images.clone())
        kl = divergence(self.clean, self.model(x))
        kl = kl + (kl.clamp(min=LEAST) - kl).detach()
        lead = torch.log(torch.expm1(math.log(2) * kl / (1 + kl)))
        return torch.stack([torch.zeros_like(lead), lead], 1)
