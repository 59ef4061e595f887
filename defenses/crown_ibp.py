"""CROWN-IBP: Zhang, Chen, Xiao, Gowal, Stanforth, Li, Boning, Hsieh 2020, section 3 (arXiv 1906.06316)."""

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from advkit.certification.trained_bounds import TrainedBounds
from advkit.core.door import check_between
from advkit.defenses._registry import register_defense
from advkit.defenses.ibp import IBP


@register_defense("crown_ibp")
@dataclass(frozen=True, kw_only=True)
class CROWNIBP(IBP):
    """IBP's loss with the margins `(1 - beta) m_IBP + beta m_CROWN-IBP`.

    The second bound is linear in the image: it passes backwards from the margins, with intervals for the units inside.
    It is tighter while the intervals are wide, which stabilises the beginning of the training; one call costs about K
    passes more. Train with a ramp: beta falls from 1 to its own value as eps grows. At the paper's final value, 0, and
    without a ramp this is IBP.

    Args:
        eps: radius of the ball at the end of the ramp.
        kappa: weight of the clean loss at the end of the ramp, in [0, 1].
        beta: weight of the linear bound at the end of the ramp, in [0, 1].
        bounds: range of the pixels.

    Raises:
        InputError: a number is out of its range, or no bound is known for a layer.
    """

    paper = "Zhang et al. 2020, arXiv 1906.06316"

    beta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("beta", self.beta, 0, 1)

    def at(self, share: float) -> Self:
        """Like IBP; beta is that fraction of the way from 1 to its own value."""
        share = check_between("share", share, 0, 1)
        return replace(super().at(share), beta=1 - (1 - self.beta) * share)

    def margins(self, found: TrainedBounds, y: Tensor) -> Tensor:
        """Return the mixture of both bounds."""
        if self.beta == 0:
            return found.interval_margins(y)
        return (1 - self.beta) * found.interval_margins(y) + self.beta * found.linear_margins(y)
