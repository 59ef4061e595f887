"""Goals of an attacker: the only module that distinguishes targeted from untargeted attacks."""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError

TARGETS = ("untargeted", "runner_up", "random", "all")
"""Words for `target=` beside a class: no target, the likeliest wrong class, a random one, every one in turn."""


def is_aimed(target: str | int | Tensor) -> bool:
    """Return whether a target, as in the call of an attack, is a class, or a word for one."""
    return not (isinstance(target, str) and target == "untargeted")


def wide(logits: Tensor) -> Tensor:
    """Convert the logits to float32 or better, the precision in which losses are computed."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def flat(outputs: Tensor) -> Tensor:
    """Reshape outputs (N, ...) or (N,) to (N, D)."""
    return outputs.flatten(1) if outputs.ndim > 1 else outputs[:, None]


def _without(logits: Tensor, label: Tensor) -> Tensor:
    """(N, K): the logits, that of the label at minus infinity."""
    return logits.scatter(1, label[:, None], -torch.inf)


def leads(logits: Tensor, y: Tensor) -> Tensor:
    """(N, K), (N,) -> (N, K): the logit of y less that of each class; infinite for y itself."""
    logits = wide(logits)
    return (logits.gather(1, y[:, None]) - logits).scatter(1, y[:, None], torch.inf)


class Goal(NamedTuple):
    """Leave a class (sign +1: away from `label`) or reach one (sign -1: towards `label`).

    Attributes:
        label: (N,), the class to leave or to reach: y, or the target.
        y: the true class (N,).
        sign: +1 untargeted, -1 targeted.
    """

    label: Tensor
    y: Tensor
    sign: float

    def margin(self, logits: Tensor) -> Tensor:
        """Return the margin of the goal, (N, K) -> (N,). The goal is reached if it is > 0; a tie does not reach it.

        Args:
            logits: (N, K), the logits.
        """
        logits = wide(logits)
        own = logits.gather(1, self.label[:, None]).squeeze(1)
        return self.sign * (_without(logits, self.label).amax(1) - own)

    def signed(self, values: Tensor) -> Tensor:
        """Values of the label to leave as they are, those of a label to reach with the other sign.

        Args:
            values: a tensor of any shape.
        """
        return values if self.sign > 0 else -values

    def clears(self, logits: Tensor, by: Tensor | float = 0.0) -> Tensor:
        """Return whether the margin is larger than `by` >= 0, a number or (N,), at less cost: (N, K) -> (N,) bool.

        Args:
            logits: (N, K), the logits.
            by: least margin, a number >= 0 or (N,).
        """
        logits = wide(logits)
        own = logits.gather(1, self.label[:, None]).squeeze(1)
        if self.sign > 0:  # the label's own logit never clears itself
            low, high = own, logits.amax(1)
        else:
            low, high = _without(logits, self.label).amax(1), own
        return high > low + by if isinstance(by, Tensor) or by else high > low

    def gap(self, logits: Tensor) -> Tensor:
        """Return the logit of the class to reach minus that of y, (N, K) -> (N,): for untargeted goals the margin.

        Args:
            logits: (N, K), the logits.
        """
        if self.sign > 0:
            return self.margin(logits)
        logits = wide(logits)
        return (logits.gather(1, self.label[:, None]) - logits.gather(1, self.y[:, None])).squeeze(1)

    @property
    def target(self) -> Tensor | None:
        """(N,): the class to reach; None for an untargeted goal."""
        return None if self.sign > 0 else self.label

    def rival(self, logits: Tensor) -> Tensor:
        """Return the class to reach, the target or the likeliest class other than y: (N, K) -> (N,) int64.

        Args:
            logits: (N, K), the logits.
        """
        if self.sign < 0:
            return self.label
        return _without(logits.detach(), self.label).argmax(1)

    def duels(self, logits: Tensor, count: int) -> Tensor:
        """Return differences of two logits each, (N, k, K); the goal is reached when one of them is positive.

        Untargeted: each of the `count` likeliest rivals (all, if there are fewer) less y. Targeted: the target less
        the likeliest of the other classes, k = 1.

        Args:
            logits: (N, K), the logits.
            count: maximum number of rivals.
        """
        others = _without(wide(logits), self.label)
        classes, best = logits.shape[1], others.topk(min(count, logits.shape[1] - 1) if self.sign > 0 else 1).indices
        lead = torch.nn.functional.one_hot(best, classes) - torch.nn.functional.one_hot(self.label, classes)[:, None]
        return (self.sign * lead).to(others.dtype)

    @property
    def lead(self) -> float:
        """The lead that the class to reach must exceed; 0 means that any lead is enough."""
        return 0.0

    @property
    def of_classes(self) -> bool:
        """Whether the goal is about classes, so that `label`, `rival` and `duels` exist."""
        return True

    @property
    def ranks(self) -> int:
        """The number of sorted logits in the DLR loss: 3, or 4 with a target (arXiv 2003.01690, equations 6 and 7)."""
        return 3 if self.sign > 0 else 4


def untargeted(y: Tensor) -> Goal:
    """Return the goal of any class other than y (N,)."""
    return Goal(y, y, 1.0)


def targeted(target: Tensor, y: Tensor) -> Goal:
    """Return the goal of the class `target` (N,); y (N,) is the true class."""
    return Goal(target, y, -1.0)


def resolve(target: str | int | Tensor | Goal, y: Tensor, logits: Tensor, draws: Draws) -> Goal:
    """Return the goal for `target`: a word of `TARGETS` other than "all", a class, a tensor of classes (N,), or a goal.

    Args:
        target: the target as the caller gave it.
        y: the true classes (N,).
        logits: (N, K), logits of the clean images: "runner_up" is their likeliest class other than y.
        draws: random numbers for the target "random".

    Raises:
        InputError: an unknown word, or a class out of range.
    """
    if isinstance(target, str):
        return _named(target, y, logits, draws)
    if hasattr(target, "margin"):  # a goal already
        return cast(Goal, target)
    goal = targeted(torch.as_tensor(target, device=y.device).expand(len(y)).long(), y)
    check_target_exists(goal, logits)
    return goal


def check_target_exists(goal: Goal, logits: Tensor) -> None:
    """Raise InputError unless the class to reach is one of the columns of the logits (N, K).

    Args:
        goal: a goal of any kind.
        logits: answer of the model.
    """
    target, classes = getattr(goal, "target", None), logits.shape[1]
    if target is not None and len(target) and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise InputError(
            f"target out of range: saw classes {int(target.min())} to {int(target.max())}, "
            f"the model has {classes} (0 to {classes - 1})"
        )


def _named(word: str, y: Tensor, logits: Tensor, draws: Draws) -> Goal:
    if word == "untargeted":
        return untargeted(y)
    if word == "runner_up":
        return targeted(untargeted(y).rival(logits), y)
    if word == "random":
        others = logits.shape[1] - 1
        shift = (draws.uniform(-1, (1,)).squeeze(1) * others).long().clamp(max=others - 1)
        return targeted((y + 1 + shift) % (others + 1), y)
    raise InputError(f"unknown target {word!r}; expected a class, a tensor of classes, or one of {', '.join(TARGETS)}")
