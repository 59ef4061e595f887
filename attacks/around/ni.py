"""NI, Nesterov's look-ahead: Lin et al. 2019, section 3.2 (arXiv 1908.06281)."""

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from advkit.attacks.around.gradient import Bent, GradientTransform
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_between
from advkit.core.errors import InputError
from advkit.core.joint_passes import View
from advkit.core.losses import Loss, Values
from advkit.core.norms import per_row
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle
from advkit.core.pixel_range import leaving_range


class State(NamedTuple):
    """The attack's own state, and the sum of gradients that says where it is going."""

    x_adv: Tensor  # (M, ...)
    inner: Any
    velocity: Tensor  # (M, ...): of gradients whose mean size an entry is 1
    length: Tensor  # (M, 1, ...): of a step; 0 where there is one step only


@dataclass(frozen=True, kw_only=True)
class NI(GradientTransform):
    """The gradient at the point to which the momentum leads, `x + step_size * decay * velocity`.

    The velocity is the decaying sum of the gradients so far, each scaled to a mean size of 1 an entry as in the
    authors' program (the formula's l1 size of 1 would look ahead by less than a rounding). The look-ahead leaves the
    ball at times; such a point is no candidate.

    Cost: that of the attack inside.

    Args:
        decay: share of the velocity that is kept from step to step, in (0, 1]; the paper uses 1.
    """

    option = "ni"

    decay: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("ni", self.decay, 0, 1)
        if self.attack.total_steps > 1 and not hasattr(_innermost(self.attack), "length"):
            raise InputError(
                f"ni needs an attack with steps of one length, such as mifgsm; {self.attack.name} has none"
            )
        object.__setattr__(self, "stays_inside", False)

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with ni=."""
        return self._with("ni", self.decay)

    def init(self, oracle: Oracle) -> State:
        """Return the attack's first state, without momentum."""
        inner, base, x = self.attack.init(oracle), cast(Any, _innermost(self.attack)), oracle.x
        length = base.length(oracle) if hasattr(base, "length") else x.new_zeros(len(x), *[1] * (x.ndim - 1))
        return State(inner.x_adv, inner, torch.zeros_like(x), length)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Take the attack's step, with the gradient ahead."""
        kept = self.decay * state.velocity
        seen: list[Tensor] = []

        def look(x: Tensor, loss: str | Loss, through: View | None) -> tuple[Values, Tensor]:
            point = x + (kept * state.length).to(x.dtype) if i else x
            with leaving_range():
                values, gradient = oracle.look(point, loss, through)
            seen.append(gradient)
            return values, gradient

        inner = self.attack.step(Bent(oracle, look), state.inner, i)  # type: ignore[arg-type]
        size = per_row(seen[-1].abs().flatten(1).mean(1), seen[-1])
        return State(inner.x_adv, inner, kept + seen[-1] / size.masked_fill(size == 0, 1.0), state.length)


def _innermost(attack: Attack) -> Attack:
    inside = getattr(attack, "attack", None)
    return attack if inside is None else _innermost(inside)


@ATTACKS.wrapper("ni", rank=2)
@outer
def ni(attack: Attack, decay: float) -> Attack:
    """Make an attack look ahead, see `NI`: `ni(MIFGSM(eps=8/255), 1.0)`; at 0 the attack itself.

    Args:
        attack: a budget attack whose steps follow the gradient.
        decay: share of the velocity that is kept from step to step, in [0, 1]; the paper uses 1.

    Raises:
        InputError: the attack's steps do not follow the gradient only, or the decay is outside [0, 1].
    """
    check_between("ni", decay, 0, 1)
    return NI(attack=attack, decay=decay) if decay else attack
