"""An attack towards a class a sample, where any class other than y is a success."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from advkit.attacks.around.runs import Runs
from advkit.core.goals import targeted
from advkit.core.oracle import Oracle


@dataclass(frozen=True, kw_only=True)
class Aimed(Runs):
    """The attack inside, once, with the class it is given as its target; the best point is where y leads least.

    Args:
        attack: an attack that takes a target and has none set.
        classes: (N,) int64, the target class of each sample.
    """

    classes: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "targetable", False)
        object.__setattr__(self, "needs_classes", True)
        object.__setattr__(self, "loss", "margin")

    @property
    def _runs(self) -> int:
        return 1

    def _guide(self, oracle: Oracle, run: int) -> dict[str, Any]:
        return {"goal": targeted(self.classes[oracle.rows.row], oracle.goal.y)}
