"""IBP: Gowal, Dvijotham, Stanforth et al. 2018, section 3 (arXiv 1810.12715)."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from advkit.certification.trained_bounds import TrainedBounds
from advkit.core.door import check_between, check_positive
from advkit.core.losses import surprise
from advkit.defenses._loss import TrainingLoss
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense


@register_defense("ibp")
@dataclass(frozen=True, kw_only=True)
class IBP(TrainingLoss):
    """`kappa J(theta, x, y) + (1 - kappa) CE(worst logits, y)`: training on interval bounds.

    The worst logits are 0 for y and, for every other class, the upper bound of its lead over y on the linf ball of
    radius eps, within the range of the pixels. The last layer and the difference of logits are bounded as one map.
    No attack is made: the network learns to have a small certified error, which `certify(method="ibp")` measures.

    Train with a ramp (`ramp=0.5` in a recipe): eps grows from 0 and kappa falls from 1 to its own value. A network that
    starts with the whole eps stays at chance. Train with a larger eps than you certify: 0.4 for 0.3 on MNIST.

    One pass of the clean images in the caller's mode, with the auxiliary outputs that the network's own loss has. The
    bounds hold for the network in eval mode and for its answer alone: batch norm by its running averages, as the clean
    pass has left them, and no dropout. They are computed outside of autocast.

    Args:
        eps: radius of the ball at the end of the ramp.
        kappa: weight of the clean loss at the end of the ramp, in [0, 1].
        bounds: range of the pixels.

    Raises:
        InputError: a number is out of its range, or no bound is known for a layer.
    """

    paper = "Gowal et al. 2018, arXiv 1810.12715"
    makes_first = False

    eps: float
    kappa: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("eps", self.eps)
        check_between("kappa", self.kappa, 0, 1)

    @property
    def passes(self) -> int:
        """One clean pass; the bounds take about as long as two more."""
        return 1

    def at(self, share: float) -> Self:
        """Return the loss at a fraction of eps, with kappa that fraction of the way from 1 to its own value."""
        share = check_between("share", share, 0, 1)
        return replace(self, eps=self.eps * share, kappa=1 - (1 - self.kappa) * share)

    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the images; no examples are made."""
        return x

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Return the clean loss and that of the worst logits."""
        clean = network.mean(lambda logits: surprise(logits, y).mean(), x)
        with torch.autocast(x.device.type, enabled=False):
            found = TrainedBounds(network.bare, x, self.eps, self.bounds)
            worst = surprise(-self.margins(found, y), y).mean()
        return self.kappa * clean + (1 - self.kappa) * worst

    def margins(self, found: TrainedBounds, y: Tensor) -> Tensor:
        """Lower bounds (N, K) of logit y minus each other logit.

        Args:
            found: bounds of the network's nodes on the ball.
            y: classes (N,).
        """
        return found.interval_margins(y)
