"""A limit on the queries of each sample, for models whose queries are expensive."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.attacks.around.wrapper import Wrapper
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """The attack's own state, and which rows have spent their queries."""

    x_adv: Tensor  # (M, ...)
    inner: Any  # the attack's own state
    done: Tensor  # (M,) bool


@dataclass(frozen=True, kw_only=True)
class Limited(Wrapper):
    """The attack inside, with at most `queries` queries a sample, those of the clean image and of the verdict included.

    A sample whose queries are spent leaves with the best point that it has seen. A step that has begun is finished: an
    attack whose step takes several queries, such as one with `vmi=`, `si=` or `admix=`, may exceed the limit by them.

    Args:
        queries: maximum number of queries of a sample, at least 3.
    """

    queries: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("queries", self.queries, least=3)

    def check_aim(self, target: str | int | Tensor) -> None:
        """Ask the attack inside; "all" is refused.

        Raises:
            InputError: the attack would run once for each class, with as many queries each time.
        """
        if isinstance(target, str) and target == "all":
            raise InputError(
                f"limit={self.queries} is for one run, and target='all' makes one for each class: give targets=K, the "
                "number of classes, in its place, as in 'pgd(eps=0.1, targets=9, limit=1000)'"
            )
        super().check_aim(target)

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with limit=."""
        return self._with("limit", self.queries)

    def init(self, oracle: Oracle) -> State:
        """Delegate to the attack inside."""
        return self._counted(oracle, self.attack.init(oracle))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Delegate to the attack inside."""
        return self._counted(oracle, self.attack.step(oracle, state.inner, i))

    def _counted(self, oracle: Oracle, inner: Any) -> State:
        """Done is also who has no query left beside that of the verdict."""
        spent = (oracle.rows.record.queries + 2) * self.passes > self.queries
        return State(inner.x_adv, inner, spent | getattr(inner, "done", torch.zeros_like(spent)))


@ATTACKS.wrapper("limit", rank=12)
@outer
def limited(attack: Attack, queries: int) -> Attack:
    """Limit the queries of an attack for each sample, see `Limited`: `limited(NES(eps=0.1), 1000)`.

    Args:
        attack: any attack.
        queries: maximum number of queries of a sample, at least 3.

    Raises:
        InputError: the object is no attack, its target is "all", or the number is below 3.
    """
    return Limited(attack=attack, queries=queries)
