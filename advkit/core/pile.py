"""Points that were seen and not compared yet: many are compared at once, in as many operations as one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.best_points import TIE, Best, Ranking, Record, Rows, choose, not_finite, take, unjudged
from advkit.core.goals import Goal
from advkit.core.losses import by_row

MOST = 32
"""The number of points of a row that wait at most."""

ROOM = 2**21
"""The number of entries of the images that wait at most: on large batches the operations cost nothing beside a pass."""

LEAST = 4
"""The least number of points of a row that wait, if any do: to copy a point and to compare it cost the same there."""


@dataclass(slots=True)
class Seen:
    """What is known of one query beside its points and answers."""

    values: Tensor | None = None  # (M,): the loss, if it is known
    live: Tensor | None = None  # (M,) bool: who took part; None: all
    inside: Tensor | None = None  # (M,) bool: whose point is feasible; None: all
    fooled: Tensor | None = None  # (M,) bool: who reaches the goal, at a feasible point or not; None: not known yet
    slope: Tensor | None = None  # (M,) bool: whose gradient is not 0; None: it was not asked for


class Pile:
    """The points of the latest queries, copied, until somebody asks which one is the best.

    Nothing waits where the caller wrote the goal or the loss: such a function may know a sample by its place.

    Args:
        ranking: rule that says which of two points is better.
        goal: goal of the attack.
    """

    def __init__(self, ranking: Ranking, goal: Goal) -> None:
        known = ranking.minimal or by_row(ranking.loss)
        self._ranking, self._most = ranking, MOST if known and isinstance(goal, Goal) else 1
        self._seen: list[Seen] = []
        self._room = 1
        self._x = self._logits = torch.empty(0, device="cpu")  # (room, M, ...), (room, M, K)

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def full(self) -> bool:
        """Whether the points have to be compared before the next query."""
        return len(self) == self._room

    def add(self, x: Tensor, logits: Tensor, seen: Seen) -> Tensor:
        """Points x (M, ...) and answers (M, K) join the pile; returns the answers as they are kept."""
        if not self._seen:
            self._make_room(x, logits)
        place = len(self)
        self._seen.append(seen)
        if self._room > 1:  # whoever made them may write on them
            self._x[place].copy_(x)
            self._logits[place].copy_(logits)
        return self._logits[place]

    def waits(self, x: Tensor) -> bool:
        """Whether points such as x (M, ...) are not compared at once."""
        return self._places(x) > 1

    def _places(self, x: Tensor) -> int:
        room = min(self._most, ROOM // max(1, x.numel()))
        return room if room >= LEAST else 1

    def _make_room(self, x: Tensor, logits: Tensor) -> None:
        self._room = self._places(x)
        if self._room == 1:
            self._x, self._logits = x[None], logits[None]
        elif not (_fits(self._x, x, self._room) and _fits(self._logits, logits, self._room)):
            self._x, self._logits = (t.new_empty(self._room, *t.shape) for t in (x, logits))

    def compare(self, rows: Rows) -> tuple[Record, Tensor]:
        """Return the record of the rows with all that waited, and (M,) bool: where the latest point is the best."""
        seen, depth = self._seen, len(self)
        self._seen = []
        x, logits = self._x[:depth], self._logits[:depth]
        values, fooled = (_all_known([getattr(s, name) for s in seen]) for name in ("values", "fooled"))
        live, inside, slope = (_stacked([getattr(s, name) for s in seen]) for name in ("live", "inside", "slope"))
        many = _repeated(rows, depth, whole=self._ranking.minimal)
        new = self._ranking.rank(many, x.flatten(0, 1), logits.flatten(0, 1), values, fooled)
        reached, value = new.fooled.view(depth, -1), new.value.view(depth, -1)
        seen[-1].fooled = reached[-1]
        record = _met(rows.record, logits, reached, live, slope)
        record = record._replace(broken=unjudged(record.broken, many.goal, logits.flatten(0, 1)))
        if inside is not None:
            reached, value = reached & inside, torch.where(inside, value, -torch.inf)
        found = x, logits, reached, value.to(record.best.value.dtype)
        if depth == 1:
            candidate, asked, latest = Best(*(part[0] for part in found)), None if live is None else live[0], None
        else:
            place = self._place(reached, found[-1], live)
            row = torch.arange(len(place), device=place.device)
            index = torch.add(row, place.clamp(min=0), alpha=len(place))
            parts = (part.flatten(0, 1).index_select(0, index) for part in found)
            candidate, asked, latest = Best(*parts), place >= 0, place == depth - 1
        better = self._ranking.improves(candidate, record.best)
        better = better if asked is None else better & asked
        best = choose(better, candidate, record.best)
        return record._replace(best=best), better if latest is None else better & latest

    def _place(self, reached: Tensor, value: Tensor, live: Tensor | None) -> Tensor:
        """(M,) int64: the place of the best of each row's points (k, M), the latest of equal ones; -1 where none."""
        eligible = reached if live is None else reached & live
        if not self._ranking.minimal:  # those that reach the goal, or all where none does
            some = eligible.any(0)
            eligible = reached == some if live is None else (reached == some) & live
            eligible = eligible & (reached | (value == value))  # a loss that is no number is none to climb to
        value = torch.where(eligible, value.nan_to_num(-torch.inf, torch.inf, -torch.inf), -torch.inf)
        top = value.amax(0)
        first = eligible & (value >= (TIE * top if self._ranking.minimal else top))
        return (first * torch.arange(1, len(value) + 1, device=value.device)[:, None]).amax(0) - 1


def _fits(held: Tensor, part: Tensor, room: int) -> bool:
    return held.shape == (room, *part.shape) and held.dtype == part.dtype and held.device == part.device


def _all_known(parts: Sequence[Tensor | None]) -> Tensor | None:
    """(k * M,): the parts one after the other, if every one is known."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return known[0] if len(known) == 1 else torch.cat(known)


def _stacked(parts: Sequence[Tensor | None]) -> Tensor | None:
    """(k, M) bool: the parts, True where one is None; None if all are."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    if len(parts) == 1:
        return known[0][None]
    return torch.stack([torch.ones_like(known[0]) if part is None else part for part in parts])


def _repeated(rows: Rows, times: int, *, whole: bool) -> Rows:
    """Repeat the goal and the clean answers of the rows; with `whole` their images in place of the answers."""
    if times == 1:
        return rows
    index = torch.arange(len(rows.live), device=rows.live.device).repeat(times)
    rows = rows._replace(goal=take(rows.goal, index))
    if whole:
        return rows._replace(region=rows.region._replace(x=take(rows.region.x, index)))
    return rows._replace(clean=take(rows.clean, index))


def _met(record: Record, logits: Tensor, reached: Tensor, live: Tensor | None, slope: Tensor | None) -> Record:
    """The record with what the points met: answers (k, M, K) that are not finite, gradients of 0 short of the goal."""
    answers = logits[0] if len(logits) == 1 else logits.transpose(0, 1)
    record = record._replace(broken=not_finite(record.broken, answers))
    if slope is None:
        return record
    fine = reached | slope
    fine = fine if live is None else fine >= live  # who is done may have any gradient
    return record._replace(zero=record.zero >= (fine[0] if len(fine) == 1 else fine.all(0)))
