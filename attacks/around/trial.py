"""An oracle as an attack sees it that is tried at another eps."""

from torch import Tensor

from advkit.attacks.around.stand_in import StandIn
from advkit.core.joint_passes import View
from advkit.core.losses import Loss
from advkit.core.oracle import Oracle
from advkit.core.threat import Region


class Trial(StandIn):
    """The oracle with a smaller region; it records which samples were fooled and may know the clean gradient.

    Args:
        oracle: the oracle that answers.
        eps: (M,) float64, the radii on trial.
        fooled: (M,) bool, True where this trial has fooled the sample already.
        gradient: (M, ...), known gradient at the next point; it costs no pass, and the loss there is not known.
    """

    def __init__(self, oracle: Oracle, eps: Tensor, fooled: Tensor, gradient: Tensor | None = None) -> None:
        super().__init__(oracle)
        self._gradient = gradient
        self.region: Region = oracle.region.narrowed(eps)
        self.fooled = fooled

    def logits(self, x: Tensor) -> Tensor:
        """Like the oracle's."""
        logits = self._oracle.logits(x)
        self.fooled = self.fooled | self._oracle.fooled
        return logits

    def loss_and_gradient(
        self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None
    ) -> tuple[Tensor, Tensor]:
        """Like the oracle's; with a known gradient the values are 0."""
        if through is not None:
            return self._oracle.loss_and_gradient(x, loss, through)
        if self._gradient is not None:
            return x.new_zeros(len(x)), self._gradient
        values, gradient = self._oracle.loss_and_gradient(x, loss)
        self.fooled = self.fooled | self._oracle.fooled
        return values, gradient
