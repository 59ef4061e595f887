"""TI, translation invariance: Dong et al. 2019, section 3.2 (arXiv 1904.02884)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.attacks.around.gradient import Bent, GradientTransform
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.joint_passes import View
from advkit.core.losses import Loss, Values
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle


@dataclass(frozen=True, kw_only=True)
class TI(GradientTransform):
    """The gradient convolved with a Gaussian: nearly the mean of the gradients at images moved by a few pixels.

    The kernel's deviation is a third of its half-width, as in the authors' code (15 pixels: 2.33). The paper's text
    divides by the root of 3; on digits that kernel transfers worse.

    Cost: that of the attack inside.

    Args:
        size: the width of the kernel in pixels, an odd number.
    """

    option = "ti"
    images = True

    size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.size)

    @property
    def starts_at_x(self) -> bool:
        """Whether the attack inside does so."""
        return self.attack.starts_at_x

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with ti=."""
        return self._with("ti", self.size)

    def _bend(self, oracle: Oracle, i: int) -> Oracle:

        def look(x: Tensor, loss: str | Loss, through: View | None) -> tuple[Values, Tensor]:
            values, gradient = oracle.look(x, loss, through)
            return values, smoothed(gradient, self.size)

        return Bent(oracle, look)  # type: ignore[return-value]


def smoothed(gradient: Tensor, size: int) -> Tensor:
    """gradient (N, C, H, W) convolved with the Gaussian of `size` pixels, each channel alone, zeros around it."""
    half = size // 2
    place = torch.arange(-half, half + 1, device=gradient.device, dtype=gradient.dtype)
    bell = torch.exp(-(place**2) * (9 / (2 * max(half, 1) ** 2)))
    bell = bell / bell.sum()
    channels = gradient.shape[1]
    for shape, padding in (((size, 1), (half, 0)), ((1, size), (0, half))):
        kernel = bell.view(1, 1, *shape).expand(channels, 1, *shape)
        gradient = F.conv2d(gradient, kernel, padding=padding, groups=channels)
    return gradient


def _check(size: int) -> None:
    check_count("ti", size)
    if size % 2 == 0:
        raise InputError(f"expected ti as an odd number of pixels, got {size}")


@ATTACKS.wrapper("ti", rank=1)
@outer
def ti(attack: Attack, size: int) -> Attack:
    """Smooth the gradients of an attack, see `TI`: `ti(MIFGSM(eps=8/255), 7)`; at 1 the attack itself.

    Args:
        attack: a budget attack whose steps follow the gradient.
        size: width of the kernel in pixels, an odd number.

    Raises:
        InputError: an attack whose steps do not follow the gradient alone, or a size that is no odd number.
    """
    _check(size)
    return TI(attack=attack, size=size) if size > 1 else attack
