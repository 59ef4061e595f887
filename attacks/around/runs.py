"""Several runs of one attack, one after the other in the driver's one loop over steps."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.attacks.around.wrapper import Wrapper
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """Every row is in the same run, at the same step of it."""

    x_adv: Tensor  # (M, ...)
    inner: Any  # the attack's own state
    done: Tensor  # (M,) bool: no run is left


@dataclass(frozen=True, kw_only=True)
class Runs(Wrapper):
    """The attack inside, `_runs` times, each guided in another way; each sample keeps the best point of all runs.

    A fooled sample leaves and is not attacked again (`stop="fooled"`). Cost per sample: that of each run; the clean
    image is classified only once.
    """

    @property
    @abstractmethod
    def _runs(self) -> int:
        """How many runs."""

    @abstractmethod
    def _guide(self, oracle: Oracle, run: int) -> dict[str, Any]:
        """What the attack is to see in this run, see `Oracle.showing`."""

    def _left(self, oracle: Oracle) -> int:
        """How many runs this model calls for, `_runs` or fewer."""
        return self._runs

    @property
    def _period(self) -> int:
        """The steps of one run: the attack's, and a look at its last point."""
        return self.attack.total_steps + 1

    @property
    def total_steps(self) -> int:
        """The steps of all runs; the driver's verdict looks at the last point of the last run."""
        return self._runs * self._period - 1

    def init(self, oracle: Oracle) -> State:
        """Return the start of the first run."""
        return self._begin(oracle, 0)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Take a step of the run, or begin the next run after its last step."""
        run, place = divmod(i, self._period)
        if run >= self._left(oracle):  # inside a wrapper with a clock of its own, rows that are done may stay
            return state
        if place == self.attack.total_steps:
            oracle.logits(oracle.region.settle(state.x_adv))
            return self._begin(oracle, run + 1)
        with oracle.showing(**self._guide(oracle, run)):
            inner = self.attack.step(oracle, state.inner, place)
        return state._replace(x_adv=inner.x_adv, inner=inner)

    def _begin(self, oracle: Oracle, run: int) -> State:
        over = run >= self._left(oracle)
        with oracle.showing(**self._guide(oracle, 0 if over else run)):
            inner = self.attack.init(oracle)
        return State(inner.x_adv, inner, torch.full((len(oracle.x),), over, device=oracle.x.device))
