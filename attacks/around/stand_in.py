"""An object in the place of an oracle: it answers one question itself and passes the others on."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from advkit.core.joint_passes import View
from advkit.core.losses import Loss, Values
from advkit.core.oracle import Oracle


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
        """Return the gradient of `look`, whoever answers that."""
        return self.look(x, loss, through)[1]

    def look(self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None) -> tuple[Values, Tensor]:
        """Return what `loss_and_gradient` does, whoever answers that."""
        values, gradient = self.loss_and_gradient(x, loss, through)
        return lambda: values, gradient

    def looks(self, x: Tensor, loss: str | Loss, views: Sequence[View | None]) -> Iterator[tuple[Values, Tensor]]:
        """Yield `look` through each of several functions, one by one."""
        return (self.look(x, loss, view) for view in views)
