"""An object in the place of an oracle: it answers one question itself and passes the others on."""

from typing import Any

from torch import Tensor

from advkit.core.losses import Loss
from advkit.core.oracle import Oracle, View


class StandIn:
    """The oracle for all that a subclass does not answer itself.

    Args:
        oracle: the oracle that is asked.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._oracle, name)

    def loss_and_gradient(
        self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `Oracle.loss_and_gradient`."""
        return self._oracle.loss_and_gradient(x, loss, through)

    def gradient(self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None) -> Tensor:
        """Return the gradient of `loss_and_gradient`, whoever answers that."""
        return self.loss_and_gradient(x, loss, through)[1]
