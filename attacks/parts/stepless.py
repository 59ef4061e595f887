"""Attacks that make no step: the point at which they begin is the one that is judged."""

from typing import Any

from advkit.core.oracle import Oracle


class Stepless:
    """An attack whose `init` gives the point to be judged. List it before the kind of attack among the bases."""

    starts_at_x = False

    @property
    def total_steps(self) -> int:
        """None; an attack made of others overrides this by the number of their steps."""
        return 0

    def step(self, oracle: Oracle, state: Any, i: int) -> Any:
        """Never called: there is nothing to improve."""
        raise AssertionError(f"{type(self).__name__} makes no step")
