"""What attacks of a given number of steps have in common: how many they make; of one length, how long each is."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import BudgetAttack, MinimalAttack
from advkit.core.door import check_count, check_positive
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """The point, and how long a step is."""

    x_adv: Tensor  # (M, ...)
    length: Tensor  # (M, 1, ...)


@dataclass(frozen=True, kw_only=True)
class StepAttack(BudgetAttack):
    """A budget attack that makes `steps` steps of length `step_size`.

    Args:
        steps: the number of steps.
        step_size: length of a step in units of the pixels; default: `total_length` * eps / steps.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    follows_gradient = True
    total_length: ClassVar[float]
    """Default length of all steps together, in units of eps."""

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

    def length(self, oracle: Oracle) -> Tensor:
        """(M, 1, ...): that of a step, in the precision of the images, at least float32."""
        region = oracle.region
        whole = self.total_length * region.norm.stride(region.eps, region.low, region.high)
        length = whole / self.steps if self.step_size is None else torch.full_like(region.eps, self.step_size)
        return length.to(torch.promote_types(oracle.x.dtype, torch.float32))


@dataclass(frozen=True, kw_only=True)
class MinimalStepAttack(MinimalAttack):
    """A minimal attack that makes at most `steps` steps.

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
