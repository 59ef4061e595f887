"""What transforms of the gradient have in common: an attack whose steps follow another one than the point's own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from advkit.attacks.around.stand_in import StandIn
from advkit.attacks.around.wrapper import Wrapper
from advkit.core.errors import InputError
from advkit.core.joint_passes import View
from advkit.core.losses import Loss, Values
from advkit.core.oracle import Oracle

Look = Callable[[Tensor, str | Loss, View | None], tuple[Values, Tensor]]
"""(points, loss, through) -> the loss, when it is asked for, and its gradient, see `Oracle.look`."""

Looks = Callable[[Tensor, str | Loss, Sequence[View | None]], Iterator[tuple[Values, Tensor]]]
"""(points, loss, several functions) -> the same through each of them, see `Oracle.looks`."""


class Bent(StandIn):
    """The oracle, but for the gradient that it gives.

    Args:
        oracle: the oracle whose gradient is replaced.
        look: function that is called in place of the oracle's `look`.
        looks: function that is called in place of its `looks`; by default each is looked at alone.
    """

    def __init__(self, oracle: Oracle, look: Look, looks: Looks | None = None) -> None:
        super().__init__(oracle)
        self._look, self._looks = look, looks

    def look(self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None) -> tuple[Values, Tensor]:
        """Return the replaced gradient."""
        return self._look(x, loss, through)

    def looks(self, x: Tensor, loss: str | Loss, views: Sequence[View | None]) -> Iterator[tuple[Values, Tensor]]:
        """Yield the replaced gradients through several functions."""
        return super().looks(x, loss, views) if self._looks is None else self._looks(x, loss, views)

    def loss_and_gradient(
        self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the loss and the replaced gradient."""
        values, gradient = self._look(x, loss, through)
        return values(), gradient


@dataclass(frozen=True, kw_only=True)
class GradientTransform(Wrapper):
    """The attack inside, with another gradient at every step.

    Where the model sees a changed image, the image itself stays unknown until the verdict: no sample leaves early.
    """

    option: ClassVar[str]
    """Under which name a spec has it."""
    images: ClassVar[bool] = False
    """Whether it needs images (N, C, H, W)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.follows_gradient:
            raise InputError(
                f"{self.option} needs an attack whose steps follow the gradient alone, such as mifgsm, bim or pgd; "
                f"{self.attack.name} does not"
            )

    @property
    def starts_at_x(self) -> bool:
        """No: what is differentiated first is not the pass on the clean image."""
        return False

    def step(self, oracle: Oracle, state: Any, i: int) -> Any:
        """Take the attack's step, with the replaced gradient."""
        if self.images and oracle.x.ndim != 4:
            raise InputError(f"{self.option} needs images (N, C, H, W), got {tuple(oracle.x.shape)}")
        return self.attack.step(self._bend(oracle, i), state, i)

    def _bend(self, oracle: Oracle, i: int) -> Oracle:
        """What the attack inside sees as the oracle at step i."""
        raise NotImplementedError


def then(first: View | None, second: View | None) -> View:
    """Return what the model sees through both: second(first(x)); one that is None changes nothing."""

    def through(x: Tensor) -> Tensor:
        x = x if first is None else first(x)
        return x if second is None else second(x)

    return through
