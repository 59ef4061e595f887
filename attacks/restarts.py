"""Restarts: an attack with random choices run several times, the best point of each sample kept."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from advkit.attacks._wrapper import Wrapper
from advkit.core.attack import ATTACKS, Attack, check_count
from advkit.core.errors import InputError
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """Every row is in the same run, at the same step of it."""

    x_adv: Tensor  # (M, ...)
    inner: Any  # the attack's own state


@dataclass(frozen=True, kw_only=True)
class Restarts(Wrapper):
    """The attack inside, `number` times with other random numbers; each sample keeps the best point of all runs.

    The first run is the attack alone, and n runs are the first n of n + 1: more never fool fewer. A fooled sample
    leaves and is not attacked again (`stop="fooled"`). Cost per sample: that of each run, the clean pass only once.

    Args:
        number: how many runs.
    """

    number: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("restarts", self.number)
        if self.attack.deterministic and self.number > 1:
            raise InputError(f"{self.attack.spec} makes no random choice: restarts would repeat it; leave restarts out")

    @property
    def spec(self) -> str:
        """That of the attack inside, with restarts=."""
        return self._with("restarts", self.number)

    @property
    def _period(self) -> int:
        """The steps of one run: the attack's, and a look at its last point."""
        return self.attack.total_steps + 1

    @property
    def total_steps(self) -> int:
        """Those of every run; the last point of the last one is the verdict's."""
        return self.number * self._period - 1

    def init(self, oracle: Oracle) -> State:
        """The start of the first run."""
        return self._begin(oracle, 0)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """A step of the run, or, after its last, the start of the next."""
        run, place = divmod(i, self._period)
        if place == self.attack.total_steps:
            oracle.logits(oracle.region.settle(state.x_adv))
            return self._begin(oracle, run + 1)
        with oracle.seen(draws=oracle.draws.branch(run)):
            inner = self.attack.step(oracle, state.inner, place)
        return State(inner.x_adv, inner)

    def _begin(self, oracle: Oracle, run: int) -> State:
        with oracle.seen(draws=oracle.draws.branch(run)):
            inner = self.attack.init(oracle)
        return State(inner.x_adv, inner)


@ATTACKS.wrapper("restarts")
def restarts(attack: Attack, number: int) -> Attack:
    """The attack with `number` runs, the best of each sample kept, see `Restarts`: `restarts(PGD(eps=0.1), 5)`.

    Raises:
        InputError: not an attack, one that makes no random choice, or a number below 1.
    """
    return Restarts(attack=attack, number=number)
