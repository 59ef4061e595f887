"""What attacks of a given number of steps have in common: how many they make; of one length, how long each is."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from advkit.core.attack import BudgetAttack, MinimalAttack
from advkit.core.door import check_count, check_positive
from advkit.core.oracle import Oracle


@dataclass(frozen=True, kw_only=True)
class StepAttack(BudgetAttack):
    """A budget attack that makes `steps` steps of length `step_size`.

    Args:
        steps: the number of steps.
        step_size: the length of a step in units of the pixels; `reach` * eps / steps unless given.
    """

    norms = ("linf", "l2", "l1")
    reach: ClassVar[float]
    """How far all steps together lead unless their length is given, in units of eps."""

    steps: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_positive("step_size", self.step_size, optional=True)

    @property
    def total_steps(self) -> int:
        """`steps`."""
        return self.steps

    def length(self, oracle: Oracle) -> Tensor | float:
        """That of a step: a number, or one a sample (M, 1, ...)."""
        return self.reach * oracle.region.eps / self.steps if self.step_size is None else self.step_size


@dataclass(frozen=True, kw_only=True)
class MinimalStepAttack(MinimalAttack):
    """A minimal attack that makes `steps` steps at the most.

    Args:
        steps: the number of steps.
    """

    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)

    @property
    def total_steps(self) -> int:
        """`steps`."""
        return self.steps
