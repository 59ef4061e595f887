"""The branches of a search: a function of the logits for each, and assumptions on the entries of every maximum."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.certification.alpha_crown import Relaxation
from advkit.certification.bounds import Bounds
from advkit.certification.relu_and_pooling import Maximum

ROWS = 256
"""Domains that are bounded at once without ascent."""


class Domains(NamedTuple):
    """Parts of the ball, one a row. The initial values of later steps are kept in float32.

    Attributes:
        image: number of the image (M,).
        rival: the other class (M,).
        bound: lower bound of the margin in this part (M,) float64.
        age: number of splits since the bounds inside were found (M,).
        splits: assumption on each entry of a maximum (M, taps, outputs), by the maximum's place; see `Maximum.lines`.
        alpha: initial slopes (M, outputs).
        beta: initial multipliers (M, taps, outputs).
        low: lower bounds (M, ...) float64 of the nodes that have other bounds here than in the ball, by their places.
        high: their upper bounds.
    """

    image: Tensor
    rival: Tensor
    bound: Tensor
    age: Tensor
    splits: dict[int, Tensor]
    alpha: dict[int, Tensor]
    beta: dict[int, Tensor]
    low: dict[int, Tensor]
    high: dict[int, Tensor]

    def take(self, rows: Tensor) -> "Domains":
        """Return some of the parts, by index or mask."""
        parts: list[Any] = [{i: t[rows] for i, t in part.items()} for part in self[4:]]
        return Domains(self.image[rows], self.rival[rows], self.bound[rows], self.age[rows], *parts)

    def bounds(self, made: Bounds) -> Bounds:
        """Return bounds with one row for each of these parts, from those of the balls."""
        rows = made.take(self.image)
        for i in self.low:
            rows.low[i], rows.high[i] = (part[i].to(rows.ball.x.dtype) for part in (self.low, self.high))
        return rows


def joined(parts: Sequence[Domains]) -> Domains:
    """Concatenate domains with the same nonlinear nodes."""

    def each(tensors: list[dict[int, Tensor]]) -> dict[int, Tensor]:
        return {i: torch.cat([t[i] for t in tensors]) for i in tensors[0]}

    columns: list[Any] = [list(part) for part in zip(*parts, strict=True)]
    whole: list[Any] = [*(torch.cat(part) for part in columns[:4]), *(each(part) for part in columns[4:])]
    return Domains(*whole)


class Pool:
    """Domains that wait, in parts that are never copied as a whole.

    Args:
        found: the first domains.
    """

    def __init__(self, found: Domains) -> None:
        self.parts: list[tuple[float, Domains]] = []
        self.add(found)

    def __len__(self) -> int:
        return sum(len(part.image) for _, part in self.parts)

    def add(self, found: Domains) -> None:
        """Put domains into the pool."""
        if len(found.image):
            self.parts.append((float(found.bound.min()), found))  # note: a wait for the device

    def worst(self, count: int) -> Domains:
        """Take out at most this many domains: those of the parts with the least bounds, least bounds first."""
        self.parts.sort(key=lambda part: -part[0])
        taken = [self.parts.pop()[1]]
        while self.parts and sum(len(part.image) for part in taken) < count:
            taken.append(self.parts.pop()[1])
        found = joined(taken)
        order = found.bound.argsort()
        self.add(found.take(order[count:]))
        return found.take(order[:count])

    def of(self, n: int) -> Domains:
        """Take out the domains of one image."""
        whole = joined([part for _, part in self.parts])
        self.parts = []
        self.add(whole.take(whole.image != n))
        return whole.take(whole.image == n)


def whole_balls(made: Bounds, image: Tensor, rival: Tensor, bound: Tensor) -> Domains:
    """Return the whole ball of each image, without assumptions."""
    splits, alpha, beta = {}, {}, {}
    for i in made.graph.bends:
        op, j = made.graph.nodes[i].operation, made.graph.nodes[i].inputs[0]
        assert isinstance(op, Maximum)
        low, high = made.low[j][image], made.high[j][image]
        splits[i] = op.unsplit(low)
        alpha[i] = op.lines(low, high).low_slope.float()
        beta[i] = torch.zeros_like(splits[i], dtype=torch.float32)
    return Domains(image, rival, bound, torch.zeros_like(image), splits, alpha, beta, {}, {})


def split(found: Domains, made: Bounds, C: Tensor, tries: int) -> tuple[Domains, Tensor]:
    """Split every domain that has a choice left into two; return the halves, and (M,) bool: no choice was left.

    The maxima with the largest |coefficient| times height of the relaxation are tried (Bunel et al. 2020, arXiv
    1909.06588, section 4); the one whose worse half has the largest bound is split (De Palma et al. 2021, arXiv
    2104.06718).

    Args:
        found: the domains.
        made: bounds of every node, one row a domain; no bound is claimed from them.
        C: coefficients of the logits (M, K).
        tries: number of maxima that are tried.
    """
    if not found.splits:  # an affine network
        return found.take(found.image[:0]), torch.ones_like(found.image, dtype=torch.bool)
    C = C.to(made.ball.x.dtype)
    score, tap = scores(found, made, C)
    best, where = score.topk(min(tries, score.shape[1]), dim=1)  # (M, T)
    whole = best[:, 0] == 0
    left = (~whole).nonzero().squeeze(1)  # note: a wait for the device
    if not len(left):
        return found.take(left), whole
    M, T = len(left), best.shape[1]
    each = left.repeat_interleave(T)
    chosen = where[left].flatten()
    halves = [halved(found.take(each), chosen, tap[each], half) for half in (1, -1)]
    if T == 1:
        return joined(halves), whole
    bounds = [_quick(half, made, C, each) for half in halves]
    worse = torch.minimum(*bounds).where(best[left].flatten() > 0, -torch.inf).view(M, T)
    rows = worse.argmax(1) + T * torch.arange(M, device=worse.device)
    return joined([half.take(rows) for half in halves]), whole


def _quick(found: Domains, made: Bounds, C: Tensor, each: Tensor) -> Tensor:
    """Bounds of the domains without ascent, some at a time."""
    parts = []
    for rows in torch.split(torch.arange(len(each), device=each.device), ROWS):
        some, n = found.take(rows), each[rows]
        relaxed = Relaxation(made.take(n), some.splits, some.alpha, some.beta)
        parts.append(relaxed.line(C[n])[0])
    return torch.cat(parts)


def scores(found: Domains, made: Bounds, C: Tensor) -> tuple[Tensor, Tensor]:
    """Return the importance of each maximum (M, outputs of all maxima), and the entry to split."""
    relaxed = Relaxation(made, found.splits, found.alpha, found.beta)
    relaxed.line(C)
    score, taps = [], []
    for i, splits in found.splits.items():
        op, j = made.graph.nodes[i].operation, made.graph.nodes[i].inputs[0]
        assert isinstance(op, Maximum)
        height, tap = op.height(made.low[j], made.high[j], splits)
        score.append(height * relaxed.seen[i].a.flatten(1).abs().clamp(min=1e-12))
        taps.append(tap)
    return torch.cat(score, 1), torch.cat(taps, 1)


def settled(found: Domains, made: Bounds) -> Domains:
    """Return the domains, with the maximum named in every window that the entries left in it decide.

    Args:
        found: the domains.
        made: bounds of every node, one row a domain.
    """
    splits = {}
    for i, known in found.splits.items():
        op, j = made.graph.nodes[i].operation, made.graph.nodes[i].inputs[0]
        assert isinstance(op, Maximum)
        splits[i] = op.settled(made.low[j], made.high[j], known)
    return found._replace(splits=splits)


def halved(found: Domains, chosen: Tensor, tap: Tensor, half: int) -> Domains:
    """Return one half of every domain.

    Args:
        found: the domains, changed in place.
        chosen: the column of `scores` that is split (M,).
        tap: the entry to split in every column (M, columns).
        half: 1 where the entry is the maximum, -1 where the maximum is the same without it.
    """
    first = 0
    row = torch.arange(len(chosen), device=chosen.device)
    entry = tap.gather(1, chosen[:, None]).squeeze(1)
    for splits in found.splits.values():
        outputs = splits.shape[2]
        here = (chosen >= first) & (chosen < first + outputs)
        n, o, t = row[here], chosen[here] - first, entry[here]  # note: a wait for the device
        if half > 0:  # the others do not count
            window = splits[n, :, o]
            splits[n, :, o] = torch.where(window == 0, -1, window).to(splits.dtype)
        splits[n, t, o] = half
        first += outputs
    return found._replace(age=found.age + 1)
