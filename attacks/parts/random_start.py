"""Attacks that begin at a random point of the ball unless told otherwise."""

from dataclasses import dataclass

from advkit.core.attack import BudgetAttack


@dataclass(frozen=True, kw_only=True)
class RandomStart(BudgetAttack):
    """A budget attack with a choice of where it begins.

    Args:
        random_start: whether to begin at a random point of the ball; otherwise at the clean image.
    """

    random_start: bool = True

    @property
    def starts_at_x(self) -> bool:
        """Unless the start is random."""
        return not self.random_start

    @property
    def deterministic(self) -> bool:
        """Unless the start is random."""
        return super().deterministic and not self.random_start
