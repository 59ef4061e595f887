"""Goals that a call brings with it: what must be true of the model's outputs so that a sample counts as a success."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from advkit.core.door import check_between, check_count, check_positive
from advkit.core.errors import InputError
from advkit.core.goals import Goal, wide

Margin = Callable[[Tensor, Tensor], Tensor]
"""(outputs (N, ...), y (N, ...)) -> (N,), > 0 where the goal is reached."""


@runtime_checkable
class Wish(Protocol):
    """A goal before the batch is known."""

    @property
    def of_classes(self) -> bool:
        """Whether y are classes and the outputs logits (N, K), so that every attack can pursue it."""
        ...

    def bind(self, goal: Goal) -> Any:
        """The goal of a batch; `goal` says which class to leave or to reach."""
        ...


class Ahead(NamedTuple):
    """The class to reach leads by more than `lead`; all else is said by the goal inside."""

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
        """(N, K) -> (N,): the lead less the one that is wanted."""
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
        """As inside; each has to exceed `lead`."""
        return self.inner.duels(logits, count)


class Open(NamedTuple):
    """A goal of any form: the function of the outputs and of y, its rows those of the batch."""

    y: Tensor
    function: Margin

    @property
    def lead(self) -> float:
        """Nothing beyond the margin."""
        return 0.0

    @property
    def of_classes(self) -> bool:
        """It has no classes."""
        return False

    def margin(self, outputs: Tensor) -> Tensor:
        """(N, ...) -> (N,), > 0 where the goal is reached."""
        return self.function(wide(outputs), self.y)

    def clears(self, outputs: Tensor, by: Tensor | float = 0.0) -> Tensor:
        """(N, ...) -> (N,) bool: the margin is larger than `by`."""
        return self.margin(outputs) > by


@dataclass(frozen=True)
class Confident:
    """See `confident`."""

    lead: float
    of_classes: bool = True

    def bind(self, goal: Goal) -> Any:
        """The goal, further away."""
        return Ahead(goal, self.lead) if self.lead else goal


@dataclass(frozen=True)
class Towards:
    """A class to reach or to leave, as `target=` says it; see `target` and `untargeted`."""

    target: Any
    of_classes: bool = True

    def bind(self, goal: Goal) -> Any:
        """The goal itself: `target` was put in the place of the call's."""
        return goal


@dataclass(frozen=True)
class OfForm:
    """A goal whose outputs and y have a form of their own."""

    function: Margin
    of_classes: bool = False

    def bind(self, goal: Goal) -> Any:
        """The function, with the y of the batch."""
        return Open(goal.y, self.function)


def as_wish(goal: Any) -> Wish:
    """A goal of this module as it is; a function `(outputs)` or `(outputs, y)`, or an object with `margin`, as one.

    Raises:
        InputError: anything else.
    """
    if isinstance(goal, Wish):
        return goal
    function = getattr(goal, "margin", goal)
    if not callable(function) or isinstance(goal, type):
        raise InputError(f"expected goal from advkit.goals or a function (outputs, y) -> (N,), got {goal!r}")
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    if len(needed) == 1:
        return OfForm(lambda outputs, y: function(outputs))
    if len(needed) == 2:
        return OfForm(function)
    raise InputError(f"expected a goal (outputs) or (outputs, y), got a function of {len(needed)} arguments")


def untargeted() -> Wish:
    """Any class but y."""
    return Towards("untargeted")


def target(classes: Tensor | str | int) -> Wish:
    """A class to reach: a tensor (N,), a class, or a word as in `target=` of the call."""
    return Towards(classes)


def confident(*, lead: float | None = None, probability: float | None = None) -> Wish:
    """The wrong class (or the target) is ahead by more than `lead` in logits, or has more than this probability.

    Args:
        lead: lead in logits that the class must exceed, a number >= 0. Every attack can pursue it, with a target too.
        probability: softmax probability that a class other than y must exceed, between 0 and 1.

    Raises:
        InputError: both, neither, or a value out of range.
    """
    if (lead is None) == (probability is None):
        raise InputError("expected confident(lead=...) or confident(probability=...), one of the two")
    if probability is None:
        lead = check_between("lead", lead, 0, math.inf)
        if math.isinf(lead):
            raise InputError("expected lead as a finite number >= 0, got inf")
        return Confident(lead)
    odds = torch.logit(torch.tensor(check_between("probability", probability, 0, 1, ends=False), dtype=torch.float64))

    def sure(logits: Tensor, y: Tensor) -> Tensor:
        scores = logits.log_softmax(1)
        others = scores.scatter(1, y.long()[:, None], -torch.inf)
        best = others.argmax(1, keepdim=True)
        rest = logits.scatter(1, best, -torch.inf).logsumexp(1)
        return logits.gather(1, best).squeeze(1) - rest - float(odds)

    return OfForm(sure)


def top_k(k: int) -> Wish:
    """y (N,) is not among the k likeliest classes; `top_k(1)` is a wrong class."""
    count = check_count("k", k)

    def behind(logits: Tensor, y: Tensor) -> Tensor:
        label = y.long()[:, None]
        if logits.shape[1] <= count:
            raise InputError(f"expected top_k with k below the number of classes {logits.shape[1]}, got {count}")
        others = logits.scatter(1, label, -torch.inf).topk(count, dim=1).values[:, -1]
        return others - logits.gather(1, label).squeeze(1)

    return OfForm(behind)


def one_logit() -> Wish:
    """The outputs are one logit (N,) or (N, 1), y (N,) is 0 or 1, and the sign of the logit is wrong."""
    return OfForm(lambda outputs, y: (1 - 2 * y.reshape(-1).to(outputs.dtype)) * outputs.reshape(-1))


def multi_label() -> Wish:
    """The outputs are one logit a label (N, K), y (N, K) is 0 or 1, and the sign of at least one logit is wrong."""
    return OfForm(lambda outputs, y: ((1 - 2 * y.to(outputs.dtype)) * outputs).flatten(1).amax(1))


def regression(tolerance: float) -> Wish:
    """Some output is further than `tolerance` from y, which has the outputs' shape."""
    most = check_positive("tolerance", tolerance)
    assert most is not None

    def away(outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs - y.to(outputs.dtype).reshape(outputs.shape)).abs().reshape(len(y), -1).amax(1) - most

    return OfForm(away)


def segmentation(share: float) -> Wish:
    """More than this share of the pixels get another class than theirs: outputs (N, K, H, W), y (N, H, W)."""
    least = check_between("share", share, 0, 1)
    if least == 1:
        raise InputError("expected share as a number from 0 to below 1, got 1: more than all pixels cannot be wrong")

    def wrong(outputs: Tensor, y: Tensor) -> Tensor:
        label = y.long()[:, None]
        lead = outputs.scatter(1, label, -torch.inf).amax(1) - outputs.gather(1, label).squeeze(1)
        lead = lead.flatten(1)
        return lead.topk(math.floor(least * lead.shape[1]) + 1, dim=1).values[:, -1]

    return OfForm(wrong)
