"""MART, misclassification aware adversarial training: Wang, Zou, Yi, Bailey, Ma, Gu 2020, section 3 (ICLR 2020)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.door import check_positive
from advkit.core.goals import wide
from advkit.core.losses import surprise
from advkit.defenses._loss import AttackedLoss, divergence
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense


@register_defense("mart")
@dataclass(frozen=True, kw_only=True)
class MART(AttackedLoss):
    """`BCE(p(x_adv), y) + lambda KL(p(x) || p(x_adv)) (1 - p_y(x))`, the mean over the batch.

    `BCE = -log p_y(x_adv) - log(1 - max_{k != y} p_k(x_adv))`: the margin counts, too. The last factor gives most
    weight to the images that the network gets wrong when they are clean.

    The example climbs the cross-entropy on the model in eval mode and leaves no trace on it. Then one pass in the
    caller's mode goes over clean and adversarial images together: batch norm updates once, on both as one batch, and
    each image has its own dropout mask. Gradients flow through all three factors.

    Args:
        attack: attack that makes the example, such as PGD(eps=8/255, steps=10).
        weight: weight of the divergence, above 0; lambda in the paper.
        bounds: range of the pixels.

    Raises:
        InputError: there is no attack, a budget attack has no eps, or a weight is out of its range.
    """

    paper = "Wang et al. 2020, ICLR"

    weight: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("weight", self.weight)

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Return the boosted cross-entropy of the examples plus the weighted divergence."""

        def term(clean: Tensor, adversarial: Tensor) -> Tensor:
            p_y = wide(clean).softmax(1).gather(1, y[:, None]).squeeze(1)
            weighted = divergence(clean, adversarial) * (1 - p_y)
            return (boosted(adversarial, y) + self.weight * weighted).mean()

        return network.mean(term, x, x_adv)


def boosted(logits: Tensor, y: Tensor) -> Tensor:
    """BCE (N,): -log p_y - log(1 - the largest other probability), exact however confident the model is."""
    logits = wide(logits)
    rival = logits.detach().scatter(1, y[:, None], -torch.inf).argmax(1)
    rest = logits.scatter(1, rival[:, None], -torch.inf).logsumexp(1)
    return surprise(logits, y) + logits.logsumexp(1) - rest
