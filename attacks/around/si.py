"""SI, scale invariance: Lin et al. 2019, section 3.3 (arXiv 1908.06281)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.attacks.around.gradient import Bent, GradientTransform, then
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_count
from advkit.core.joint_passes import View
from advkit.core.losses import Loss, Values
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle
from advkit.core.pixel_range import onto


@dataclass(frozen=True, kw_only=True)
class SI(GradientTransform):
    """The mean of the gradients at the image and at its darker copies, x / 2^i for i < `copies`.

    Black is the lower end of `bounds`: for pixels from -1 to 1 a copy is (x + 1) / 2^i - 1.

    Cost: `copies` times the passes of the attack inside.

    Args:
        copies: number of scales, including the image's own.
    """

    option = "si"

    copies: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("si", self.copies)

    @property
    def starts_at_x(self) -> bool:
        """As the attack inside does: one of the copies is the image itself."""
        return self.attack.starts_at_x

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with si=."""
        return self._with("si", self.copies)

    def _bend(self, oracle: Oracle, i: int) -> Oracle:
        def look(x: Tensor, loss: str | Loss, through: View | None) -> tuple[Values, Tensor]:
            return mean(oracle.looks(x, loss, list(scales(through, self.copies, oracle.region.lowest))))

        return Bent(oracle, look)  # type: ignore[return-value]


def scales(through: View | None, copies: int, black: float) -> Iterator[View | None]:
    """The darker copies and then the image, which is `through` itself: who is fooled there may leave after it."""
    for k in range(1, copies):
        yield then(through, lambda seen, k=k: onto(black, seen, lambda x: x / 2**k))  # type: ignore[misc]
    yield through


def mean(found: Iterable[tuple[Values, Tensor]]) -> tuple[Values, Tensor]:
    """Return the mean loss and the mean gradient of several copies."""
    values: list[Values] = []
    total: Tensor | None = None
    for value, gradient in found:
        values.append(value)
        total = gradient if total is None else total + gradient
    assert total is not None
    return lambda: torch.stack([value() for value in values]).mean(0), total / len(values)


@ATTACKS.wrapper("si", rank=5)
@outer
def si(attack: Attack, copies: int) -> Attack:
    """Attack darker copies together, see `SI`: `si(MIFGSM(eps=8/255), 5)`; at 1 the attack itself.

    Args:
        attack: a budget attack whose steps follow the gradient.
        copies: number of scales, including the image's own; at least 1.

    Raises:
        InputError: the attack's steps do not follow the gradient only, or the number is below 1.
    """
    check_count("si", copies)
    return SI(attack=attack, copies=copies) if copies > 1 else attack
