"""The base class of wrappers: an attack made of another one, with the same traits."""

import re
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from advkit.core.attack import ATTACKS, Attack
from advkit.core.driver import Problem
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.losses import Loss
from advkit.core.norms import NORMS
from advkit.core.oracle import Oracle
from advkit.core.wishes import Wish
from advkit.core.written import written


@dataclass(frozen=True, kw_only=True)
class Wrapper(Attack):
    """An attack that runs another one: its traits, its norm, its loss, its target and its eps are those inside.

    Args:
        attack: the attack inside.
    """

    norms = tuple(NORMS)
    drives: ClassVar[bool] = True
    """Whether it makes the steps of the attack inside itself."""
    shared: ClassVar[tuple[str, ...]] = ("norm", "loss", "target", "targetable", "per_sample", "knowledge", "paper")
    """The traits that it takes over as they are."""
    method: ClassVar[tuple[str, ...]] = (
        "climbs",
        "needs_classes",
        "stays_inside",
        "follows_gradient",
        "begins_at_image",
        "measures",
    )
    """Traits of the inner method; a wrapper that compares classes sets `needs_classes` itself."""
    own: ClassVar[tuple[str, ...]] = ("name", "kind", "norms")
    """Traits of the inner attack that a wrapper of the same kind takes over too."""

    attack: Attack
    target: str | int = field(init=False)
    norm: str = field(init=False)
    loss: str | Loss = field(init=False)

    def __post_init__(self) -> None:
        word = type(self).__name__.lower()
        if not isinstance(self.attack, Attack):
            raise InputError(f"expected an attack such as PGD(eps=0.1) in {word}, got {self.attack!r}")
        if self.drives and not self.attack.stepwise:
            raise InputError(f"{self.attack.name} is made of several attacks and cannot stand in {word}")
        for trait in (*self.own, *self.shared, *self.method):
            object.__setattr__(self, trait, getattr(self.attack, trait))
        super().__post_init__()

    @property
    def deterministic(self) -> bool:
        """Whether the attack inside is so."""
        return self.attack.deterministic

    @property
    def starts_at_x(self) -> bool:
        """Whether the attack inside does so."""
        return self.attack.starts_at_x

    @property
    def total_steps(self) -> int:
        """The number of the attack inside."""
        return self.attack.total_steps

    def check_aim(self, target: str | int | Tensor) -> None:
        """Ask the attack inside."""
        self.attack.check_aim(target)

    def having(self, **options: Any) -> Self:
        """Return the wrapper around the attack inside with other options."""
        return replace(self, attack=self.attack.having(**options))

    def init(self, oracle: Oracle) -> Any:
        """Delegate to the attack inside."""
        return self.attack.init(self._view(oracle))

    def step(self, oracle: Oracle, state: Any, i: int) -> Any:
        """Delegate to the attack inside."""
        return self.attack.step(self._view(oracle), state, i)

    def _view(self, oracle: Oracle) -> Oracle:
        """What the attack inside sees as the oracle."""
        return oracle

    @property
    def eps(self) -> float | None:
        """The radius of the attack inside; None of a minimal one."""
        return getattr(self.attack, "eps", None)

    @property
    def passes(self) -> int:
        """The number of the attack inside."""
        return self.attack.passes

    def _radius(self, eps: Any, x: Tensor) -> float | Tensor:
        return self.attack._radius(eps, x)

    def _arrange(self, model: Model, problem: Problem) -> tuple[Model, Problem]:
        return self.attack._arrange(model, problem)

    def _wish(self, goal: Any) -> Wish | None:
        return self.attack._wish(goal)

    def _with(self, option: str, value: Any) -> str:
        """The spec of the attack inside with one more option.

        A spec is read with the wrappers in the order of their ranks. In another order they are another attack, so they
        are written as calls, which no reader takes.
        """
        spec, order = self.attack.spec, list(ATTACKS.wrappers)
        last = re.search(r"(\w+)=[^=]*\)$", spec) if isinstance(self.attack, Wrapper) else None
        if last is not None and last[1] in order[order.index(option) :]:
            return f"{option}({spec}, {written(value)})"
        more = f"{option}={written(value)}"
        return f"{spec[:-1]}, {more})" if spec.endswith(")") else f"{spec}({more})"
