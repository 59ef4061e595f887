"""VMI, variance tuning: Wang and He 2021, algorithm 1 (arXiv 2103.15571)."""

from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.attacks.around.gradient import Bent, GradientTransform, then
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_count
from advkit.core.joint_passes import View
from advkit.core.losses import Loss, Values
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle
from advkit.core.pixel_range import leaving_range

REACH = 1.5
"""Distance of the neighbours in units of eps, as in the paper."""

FAMILY = 9
"""First stream of random numbers."""


class State(NamedTuple):
    """The attack's own state, and what the neighbours' gradients add to the next one."""

    x_adv: Tensor  # (M, ...)
    inner: Any
    variance: Tensor  # (M, ...)


@dataclass(frozen=True, kw_only=True)
class VMI(GradientTransform):
    """The gradient plus the last step's variance: the mean gradient of random neighbours minus the point's own.

    The neighbours are uniform in the ball of 1.5 eps around the point, in the attack's norm.

    Cost: `neighbours` + 1 times the passes of the attack inside.

    Args:
        neighbours: number of neighbours; the paper uses 20.
    """

    option = "vmi"

    neighbours: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("vmi", self.neighbours)

    @property
    def deterministic(self) -> bool:
        """False: the seed chooses the neighbours."""
        return False

    @property
    def starts_at_x(self) -> bool:
        """Whether the attack inside does so."""
        return self.attack.starts_at_x

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with vmi=."""
        return self._with("vmi", self.neighbours)

    def init(self, oracle: Oracle) -> State:
        """Return the attack's first state, before any neighbour was seen."""
        inner = self.attack.init(oracle)
        return State(inner.x_adv, inner, torch.zeros_like(oracle.x))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Take the attack's step along the tuned gradient, and look at the neighbours."""
        variance: list[Tensor] = []

        def look(x: Tensor, loss: str | Loss, through: View | None) -> tuple[Values, Tensor]:
            around = self._around(oracle, x, loss, through, i)
            values, gradient = oracle.look(x, loss, through)  # who is fooled here may leave after it
            variance.append(around - gradient)
            return values, gradient + state.variance

        inner = self.attack.step(Bent(oracle, look), state.inner, i)  # type: ignore[arg-type]
        return State(inner.x_adv, inner, variance[-1])

    def _around(self, oracle: Oracle, x: Tensor, loss: str | Loss, through: View | None, i: int) -> Tensor:
        """The mean gradient of the neighbours."""
        reach = REACH * oracle.region.eps
        moved = [self._moved(oracle, x, reach, through, i, k) for k in range(1, self.neighbours + 1)]
        with leaving_range():
            total: Tensor = reduce(torch.add, (gradient for _, gradient in oracle.looks(x, loss, moved)))
        return total / self.neighbours

    def _moved(self, oracle: Oracle, x: Tensor, reach: Tensor, through: View | None, i: int, k: int) -> View:
        """The k-th neighbour of an image, drawn when it is asked for, and then what the model sees of it."""
        region, numbers = oracle.region, oracle.draws.branch(k, FAMILY)
        return then(lambda at: at + region.drawn(region.norm.sample, reach, numbers, i).to(x.dtype), through)


@ATTACKS.wrapper("vmi", rank=3)
@outer
def vmi(attack: Attack, neighbours: int) -> Attack:
    """Give an attack variance tuning, see `VMI`: `vmi(MIFGSM(eps=8/255), 20)`; at 0 the attack itself.

    Args:
        attack: a budget attack whose steps follow the gradient.
        neighbours: number of neighbours, at least 0; the paper uses 20.

    Raises:
        InputError: an attack whose steps do not follow the gradient alone, or a negative number.
    """
    neighbours = check_count("vmi", neighbours, least=0)
    return VMI(attack=attack, neighbours=neighbours) if neighbours else attack
