"""Admix: Wang, He, Wang, He 2021, algorithm 1 (arXiv 2102.00436)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.attacks.around.gradient import Bent, GradientTransform, then
from advkit.attacks.around.si import mean, scales
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_between
from advkit.core.joint_passes import View
from advkit.core.losses import Loss, Values
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle
from advkit.core.pixel_range import leaving_range

OTHERS = 3
"""Number of images of other classes that are mixed in, one at a time."""

COPIES = 5
"""Number of scales of each mixture, as in SI."""

FAMILY = 10
"""First stream of random numbers."""


@dataclass(frozen=True, kw_only=True)
class Admix(GradientTransform):
    """The mean of the gradients at mixtures with images of other classes, `(x + share * other) / 2^i`, 0 being black.

    It uses three other images, drawn at every step from the clean images of the batch, and five scales, as in the
    paper. A sample without another class in its batch is attacked without a mixture. So a sample's result depends on
    its batch.

    Cost: 15 times the passes of the attack inside. No sample leaves early.

    Args:
        share: weight of the other image, in (0, 1]; the paper uses .2.
    """

    option = "admix"

    share: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("admix", self.share, 0, 1)
        object.__setattr__(self, "per_sample", False)

    @property
    def deterministic(self) -> bool:
        """False: the seed chooses the other images."""
        return False

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with admix=."""
        return self._with("admix", self.share)

    def _bend(self, oracle: Oracle, i: int) -> Oracle:
        others = [self.share * _other(oracle, i, k) for k in range(OTHERS)]

        def look(x: Tensor, loss: str | Loss, through: View | None) -> tuple[Values, Tensor]:
            mixed = [then(through, lambda seen, other=other: seen + other) for other in others]  # type: ignore[misc]
            views = [view for mixture in mixed for view in scales(mixture, COPIES, oracle.region.lowest)]
            with leaving_range():
                return mean(oracle.looks(x, loss, views))

        return Bent(oracle, look)  # type: ignore[return-value]


def _other(oracle: Oracle, i: int, k: int) -> Tensor:
    """(M, ...): how far the clean image of a random row of another class is from black; 0 where there is none."""
    y, x = oracle.goal.y, oracle.x
    scores = oracle.draws.branch(k + 1, FAMILY).uniform(i, (len(x),))
    scores = torch.where(y[:, None] == y, -1.0, scores)
    best, row = scores.max(1)
    found: Tensor = (x[row] - oracle.region.lowest) * (best >= 0).view(-1, *[1] * (x.ndim - 1))
    return found


@ATTACKS.wrapper("admix", rank=4)
@outer
def admix(attack: Attack, share: float) -> Attack:
    """Attack mixtures with other images, see `Admix`: `admix(MIFGSM(eps=8/255), 0.2)`; at 0 the attack itself.

    Args:
        attack: a budget attack whose steps follow the gradient.
        share: weight of the other image, in [0, 1]; the paper uses .2.

    Raises:
        InputError: the attack's steps do not follow the gradient only, or the share is outside [0, 1].
    """
    check_between("admix", share, 0, 1)
    return Admix(attack=attack, share=share) if share else attack
