"""Restarts: an attack with random choices run several times, the best point of each sample kept."""

from dataclasses import dataclass
from typing import Any

from advkit.attacks.around.runs import Runs
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle


@dataclass(frozen=True, kw_only=True)
class Restarts(Runs):
    """The attack inside, `number` times with other random numbers.

    The first run is the attack alone, and n runs are the first n of n + 1: more never fool fewer.

    Args:
        attack: an attack that makes random choices.
        number: the number of runs.
    """

    number: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("restarts", self.number)
        if self.attack.deterministic and self.number > 1:
            raise InputError(f"{self.attack.spec} makes no random choice: restarts would repeat it; leave restarts out")

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with restarts=."""
        return self._with("restarts", self.number)

    @property
    def _runs(self) -> int:
        return self.number

    def _guide(self, oracle: Oracle, run: int) -> dict[str, Any]:
        return {"draws": oracle.draws.branch(run)}


@ATTACKS.wrapper("restarts", rank=11)
@outer
def restarts(attack: Attack, number: int) -> Attack:
    """Run an attack `number` times and keep the best of each sample, see `Restarts`: `restarts(PGD(eps=0.1), 5)`.

    Args:
        attack: an attack that makes random choices.
        number: number of runs, at least 1.

    Raises:
        InputError: the object is no attack, it makes no random choice, or the number is below 1.
    """
    return Restarts(attack=attack, number=number)
