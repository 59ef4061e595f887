"""The smallest eps at which a budget attack fools: its curve of error against eps, sample by sample, in one run."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.attacks.around.trial import Trial
from advkit.attacks.around.wrapper import Wrapper
from advkit.core.attack import Attack
from advkit.core.door import check_count, check_positive
from advkit.core.errors import InputError
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """Each row is at its own eps; all are at the same step of the attack."""

    x_adv: Tensor  # (M, ...)
    eps: Tensor  # (M,) float64: on trial
    low: Tensor  # (M,) float64: the largest eps below `high` that did not fool
    high: Tensor  # (M,) float64: the smallest that did, inf if none
    fooled: Tensor  # (M,) bool: in this trial
    gradient: Tensor  # (M, ...): at the clean image
    inner: Any  # the attack's own state
    done: Tensor  # (M,) bool


@dataclass(frozen=True, kw_only=True)
class Smallest(Wrapper):
    """A budget attack turned minimal: the nearest point that it finds over a scan of eps and a bisection.

    From `first` times the size of the whole range, eps doubles until the attack fools; then the interval is halved.
    A larger eps may fool fewer, so the result need not be the smallest eps of all; the returned point is verified.
    The gradient at the clean image is taken once for all eps: FGSM's whole curve costs one, and a query a trial.

    Args:
        attack: the budget attack; its own eps is not used.
        first: the first eps, as a share of the distance between the corners of the range.
        halvings: the number of bisections.
    """

    name = "smallest"
    kind = "minimal"
    own = ()

    first: float = 2.0**-10
    halvings: int = 8

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack) or self.attack.kind != "budget" or not self.attack.stepwise:
            raise InputError(f"expected a budget attack such as FGSM(), got {self.attack!r}")
        super().__post_init__()
        check_positive("first", self.first)
        check_count("halvings", self.halvings)

    @property
    def eps(self) -> None:
        """It looks for the smallest: the attack's own eps is not used."""
        return None

    def _radius(self, eps: Any, x: Tensor) -> float | Tensor:
        return Attack._radius(self, eps, x)

    @property
    def spec(self) -> str:
        """The Python expression, since tensors have no place in a spec."""
        return f"smallest({self.attack.spec})"

    @property
    def _period(self) -> int:
        """The steps of one trial: the attack's, and a look at its last point."""
        return self.attack.total_steps + 1

    @property
    def total_steps(self) -> int:
        """Doublings from `first` up to the whole range, then halvings."""
        doublings = 1 + max(0, (int(1 / self.first) - 1).bit_length())
        return (doublings + self.halvings) * self._period

    def init(self, oracle: Oracle) -> State:
        """Begin at the first eps."""
        widest = oracle.region.widest()
        gradient = oracle.gradient(oracle.x, self.loss) if self.starts_at_x else torch.zeros_like(oracle.x)
        zero, no = torch.zeros_like(widest), torch.zeros_like(widest, dtype=torch.bool)
        start = State(oracle.x, widest * self.first, zero, zero + torch.inf, no, gradient, None, no)
        return start._replace(inner=self.attack.init(Trial(oracle, start.eps, start.fooled)))  # type: ignore[arg-type]

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Take a step of the attack at the row's eps, or choose the next eps after the last step."""
        known = state.gradient if self.starts_at_x and i % self._period == 0 else None
        view = Trial(oracle, state.eps, state.fooled, known)
        if (i + 1) % self._period:
            inner = self.attack.step(view, state.inner, i % self._period)  # type: ignore[arg-type]
            return state._replace(x_adv=inner.x_adv, inner=inner, fooled=view.fooled)
        view.logits(view.region.settle(state.inner.x_adv))
        low, high = torch.where(view.fooled, state.low, state.eps), torch.where(view.fooled, state.eps, state.high)
        eps = torch.where(high.isfinite(), (low + high) / 2, 2 * state.eps)
        narrow = high.isfinite() & (high - low <= high * 2.0**-self.halvings)
        nothing = ~high.isfinite() & (state.eps >= oracle.region.widest())
        none = torch.zeros_like(state.done)
        state = state._replace(x_adv=oracle.x, eps=eps, low=low, high=high, fooled=none, done=narrow | nothing)
        return state._replace(inner=self.attack.init(Trial(oracle, state.eps, state.fooled)))  # type: ignore[arg-type]


@outer
def smallest(attack: Attack, *, first: float = 2.0**-10, halvings: int = 8) -> Smallest:
    """Make a minimal attack of a budget attack, see `Smallest`: `smallest(FGSM())(model, x, y).distance`.

    Args:
        attack: the budget attack; its own eps is not used.
        first: the first eps, as a share of the distance between the corners of the range.
        halvings: number of bisections.

    Raises:
        InputError: not a budget attack, or a value that `Smallest` refuses.
    """
    return Smallest(attack=attack, first=first, halvings=halvings)
