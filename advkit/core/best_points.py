"""What is known of each row, and which of two points of one is the better."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.goals import Goal, flat, wide
from advkit.core.large import in_pieces, is_large
from advkit.core.losses import Loss, loss_values
from advkit.core.norms import per_row
from advkit.core.threat import Region
from advkit.core.wishes import Open


class Best(NamedTuple):
    """The best point seen of each row: fooled points before others, then by value, then the later one."""

    x_adv: Tensor  # (M, ...)
    logits: Tensor  # (M, K)
    fooled: Tensor  # (M,) bool
    value: Tensor  # (M,): the loss of a budget attack; minus the distance of a minimal one, float64


class Record(NamedTuple):
    """What is known about each row."""

    best: Best
    queries: Tensor  # (M,) int64
    gradients: Tensor  # (M,) int64
    zero: Tensor  # (M,) bool
    broken: Tensor  # (M,) float32: next to 0, or not finite once an answer was not
    unsteady: Tensor  # (M,) bool: one point got two answers
    size: Tensor | None = None  # (M,) float64: the attack's own measure of the best point, if it has one


class Rows(NamedTuple):
    """The samples that are still in the batch; M rows."""

    row: Tensor  # (M,) int64: its number in the caller's batch
    live: Tensor  # (M,) bool: False once a row needs no further step
    region: Region
    goal: Goal
    draws: Draws
    record: Record
    clean: Tensor  # (M, K): the logits of the clean images


def take(tree: Any, index: Tensor) -> Any:
    """Select rows of every tensor in a tree of NamedTuples; anything else stays."""
    if isinstance(tree, Tensor):
        return tree.index_select(0, index)
    if isinstance(tree, tuple):
        return type(tree)(*(take(field, index) for field in tree))
    return tree


def noise_floor(logits: Tensor) -> Tensor:
    """(N,): the largest margin that rounding can produce, 16 units in the last place of the largest logit."""
    return flat(wide(logits)).abs().amax(1) * (16 * torch.finfo(logits.dtype).eps)


def not_finite(broken: Tensor, logits: Tensor) -> Tensor:
    """(N,): `broken`, made non-finite in rows whose logits (N, ...) hold NaN or infinity."""
    return torch.add(broken, flat(logits).sum(1, dtype=torch.float32), alpha=2e-38)


def unjudged(broken: Tensor, goal: Any, outputs: Tensor) -> Tensor:
    """(M,): `broken`, made non-finite in rows for whose outputs (k * M, ...) the caller's own goal returned NaN."""
    blank = goal.unjudged(outputs) if isinstance(goal, Open) else None
    return broken if blank is None else broken.masked_fill(blank.view(-1, len(broken)).any(0), torch.nan)


def put(tree: Any, index: Tensor, part: Any) -> Any:
    """Return a copy of the tree with the rows `index` replaced by those of `part`; the inverse of `take`."""
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return tree.index_copy(0, index, part)
    return type(tree)(*(put(a, index, b) for a, b in zip(tree, part, strict=True)))


def choose(mask: Tensor, first: Any, second: Any) -> Any:
    """Choose row by row between two trees of one form: `first` if mask (M,) is True, else `second`."""
    if isinstance(first, Tensor):
        if first.shape == second.shape and first.dtype == second.dtype:
            one, other = in_pieces(first), in_pieces(second)
            if one is not None and other is not None:
                return torch.where(mask[:, None], one, other).view(first.dtype).view_as(first)
        return torch.where(per_row(mask, first), first, second)
    return type(first)(*(choose(mask, a, b) for a, b in zip(first, second, strict=True)))


def sloped(gradient: Tensor) -> Tensor:
    """(M,) bool: rows of the gradient (M, ...) with an entry that is not 0."""
    rows = gradient.flatten(1)
    if is_large(rows) and rows.shape[1] > 2 * LOOK:
        some = rows[:, rows.shape[1] // 2 :][:, :LOOK].any(1)  # nearly always enough; `any` reads all
        if some.numpy().all():
            return some
    return rows.any(1)


def equal_rows(first: Tensor, second: Tensor) -> Tensor:
    """(M,) bool: rows in which two tensors (M, ...) of one shape agree in every entry."""
    one, other = first.flatten(1), second.flatten(1)
    if is_large(one) and one.shape[1] > 2 * LOOK:
        middle = slice(one.shape[1] // 2, one.shape[1] // 2 + LOOK)
        some = (one[:, middle] == other[:, middle]).all(1)  # a few entries nearly always tell them apart
        if not some.numpy().any():
            return some
    return (one == other).all(1)


LOOK = 16
"""Entries in the middle of an image that are looked at first."""

TIE = 1 + 1e-12
"""Two distances are equal when their ratio is at most this."""


@dataclass(frozen=True)
class Ranking:
    """The comparison of two points of one sample: by loss (budget attack) or by distance (minimal attack)."""

    loss: str | Loss
    minimal: bool

    def fools(self, goal: Goal, logits: Tensor) -> Tensor:
        """(M,) bool: these answers reach the goal; those of a minimal attack must clear the noise."""
        return goal.clears(logits, noise_floor(logits)) if self.minimal else goal.clears(logits)

    def rank(
        self, rows: Rows, x: Tensor, logits: Tensor, values: Tensor | None = None, fooled: Tensor | None = None
    ) -> Best:
        """Rank the points. `values` is the loss and `fooled` says who reaches the goal, if they are known."""
        goal = rows.goal
        fooled = self.fools(goal, logits) if fooled is None else fooled
        if self.minimal:
            return Best(x, logits, fooled, -rows.region.gauge(x))
        if values is None:
            values = loss_values(self.loss, goal, logits, rows.clean)
        none = fooled & values.isnan()  # an infinite answer has no loss: any other point that fools is better
        return Best(x, logits, fooled, values.masked_fill(none, -torch.inf))

    def improves(self, new: Best, old: Best, slack: Tensor | None = None) -> Tensor:
        """(M,) bool: the new point is better, or equally good to within `slack` (M,) of the loss.

        If two points have the same distance up to rounding, the later one is taken.
        """
        if self.minimal:  # a point that does not fool is of no use, and as long as none did the value is -inf
            return new.fooled & (new.value >= TIE * old.value)
        least = old.value if slack is None else old.value - slack
        return torch.where(new.fooled == old.fooled, new.value >= least, new.fooled)
