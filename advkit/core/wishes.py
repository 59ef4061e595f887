"""Goals that are given to a call: the conditions on the model's outputs under which a sample counts as a success."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.goals import Goal, wide
from advkit.core.losses import is_loss_of_torch, needed_arguments
from advkit.core.registry import Registry

Margin = Callable[[Tensor, Tensor], Tensor]
"""(outputs (N, ...), y (N, ...)) -> (N,), > 0 where the goal is reached."""


@runtime_checkable
class Wish(Protocol):
    """A goal before the batch is known."""

    @property
    def of_classes(self) -> bool:
        """Whether the goal is to leave or to reach a class, so that every attack can pursue it."""
        ...

    @property
    def labelled(self) -> bool:
        """Whether y (N,) are classes and the outputs logits (N, K)."""
        ...

    @property
    def spec(self) -> str:
        """The spec string that creates the goal again, if there is one."""
        ...

    def bind(self, goal: Goal) -> Any:
        """Return the goal of a batch; `goal` says which class to leave or to reach.

        Args:
            goal: the class to leave or to reach in each row.
        """
        ...


class Ahead(NamedTuple):
    """The goal inside with a lead of more than `lead`."""

    inner: Goal
    lead: float

    @property
    def label(self) -> Tensor:
        """As inside."""
        return self.inner.label

    @property
    def y(self) -> Tensor:
        """As inside."""
        return self.inner.y

    @property
    def sign(self) -> float:
        """As inside."""
        return self.inner.sign

    @property
    def ranks(self) -> int:
        """As inside."""
        return self.inner.ranks

    @property
    def of_classes(self) -> bool:
        """It speaks of classes."""
        return True

    def margin(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,): the margin of the goal inside less `lead`."""
        return self.inner.margin(logits) - self.lead

    def clears(self, logits: Tensor, by: Tensor | float = 0.0) -> Tensor:
        """(N, K) -> (N,) bool: the margin is larger than `by`."""
        return self.margin(logits) > by

    def gap(self, logits: Tensor) -> Tensor:
        """As inside."""
        return self.inner.gap(logits)

    def rival(self, logits: Tensor) -> Tensor:
        """As inside."""
        return self.inner.rival(logits)

    def duels(self, logits: Tensor, count: int) -> Tensor:
        """Return the duels of the goal inside; each has to exceed `lead`."""
        return self.inner.duels(logits, count)


class Open(NamedTuple):
    """A goal of any form: a function of the outputs and of y for the rows of a batch."""

    y: Tensor
    function: Margin
    sure: bool = False
    """Whether the margin is a number wherever the outputs are: it is for the named goals."""

    @property
    def lead(self) -> float:
        """No lead: the margin alone decides."""
        return 0.0

    @property
    def of_classes(self) -> bool:
        """False: the goal has no classes."""
        return False

    def margin(self, outputs: Tensor) -> Tensor:
        """(N, ...) -> (N,), > 0 where the goal is reached."""
        return self.function(wide(outputs), self.y)

    def clears(self, outputs: Tensor, by: Tensor | float = 0.0) -> Tensor:
        """(N, ...) -> (N,) bool: the margin is larger than `by`."""
        return self.margin(outputs) > by

    def unjudged(self, outputs: Tensor) -> Tensor | None:
        """(N, ...) -> (N,) bool: the margin is NaN; None if it never is."""
        return None if self.sure else self.margin(outputs).isnan()


@dataclass(frozen=True)
class Confident:
    """See `confident`."""

    lead: float
    spec: str
    of_classes: bool = True
    labelled: bool = True

    def bind(self, goal: Goal) -> Any:
        """Return the goal with the required lead or probability."""
        return Ahead(goal, self.lead) if self.lead else goal


@dataclass(frozen=True)
class Towards:
    """The goal of reaching or leaving a class, as by `target=`; see `target` and `untargeted`."""

    target: Any
    spec: str
    of_classes: bool = True
    labelled: bool = True

    def bind(self, goal: Goal) -> Any:
        """Return the goal itself, since `target` has replaced the target of the call."""
        return goal


@dataclass(frozen=True)
class OfForm:
    """A goal given as a function of the outputs and of y.

    `check` looks at y once a batch: it refuses a y that cannot be judged, and may return the function for this y.
    """

    function: Margin
    spec: str
    labelled: bool = False
    of_classes: bool = False
    check: Callable[[Tensor], Margin | None] | None = None

    def bind(self, goal: Goal) -> Any:
        """Return the function with the y of the batch."""
        made = None if self.check is None else self.check(goal.y)
        return Open(goal.y, self.function if made is None else made, self.check is not None)


GOALS: Registry[Wish] = Registry(
    "goal",
    "advkit.core.named_goals",
    example="top_k(k=5)",
    values={"k": "5", "classes": "3", "tolerance": "0.1", "share": "0.5"},
)


def as_wish(goal: Any) -> Wish:
    """Convert to a goal: a goal, a spec such as "top_k(k=5)", a function of (outputs) or (outputs, y), or any object
    with `margin`.

    Raises:
        InputError: the value is none of these.
    """
    if isinstance(goal, str):
        return GOALS.create(goal)
    if isinstance(goal, Wish):
        return goal
    function = getattr(goal, "margin", goal)
    if not callable(function) or isinstance(goal, type):
        raise InputError(
            f"expected goal as a spec such as 'top_k(k=5)', one of advkit.goals, or a function (outputs, y) -> (N,), "
            f"got {goal!r}"
        )
    needed = needed_arguments(function)
    if is_loss_of_torch(needed):
        raise InputError(
            f"expected a goal (outputs) or (outputs, y), got a loss ({', '.join(needed)}) of torch, whose sign "
            "says nothing; goal=lambda outputs, y: loss(outputs, y) - 1, with reduction='none', counts losses above 1 "
            "as wrong"
        )
    name = str(getattr(function, "__qualname__", type(function).__qualname__))
    if len(needed) == 1:
        return OfForm(lambda outputs, y: function(outputs), name)
    if len(needed) == 2:
        return OfForm(function, name)
    raise InputError(f"expected a goal (outputs) or (outputs, y), got a function of {len(needed)} arguments")
