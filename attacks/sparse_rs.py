"""Sparse-RS: Croce, Andriushchenko, Singh, Flammarion, Hein 2022, algorithm 1 and section 4.1 (arXiv 2006.12834)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.best_points import choose
from advkit.core.door import check_count, check_share
from advkit.core.losses import loss_values
from advkit.core.oracle import Oracle
from advkit.core.threat import Region
from advkit.core.thresholds import top

SHARES = ((0, 2), (50, 4), (200, 5), (500, 6), (1000, 8), (2000, 10), (4000, 12), (6000, 15), (8000, 20))
"""After the first number of queries of 10,000, the share of the pixels that move is `share` over the second."""


class State(NamedTuple):
    """The proposal, and the best point so far; P pixels of which k are changed."""

    x_adv: Tensor  # (M, ...)
    changed: Tensor  # (M, P) bool: those of the proposal
    x_max: Tensor  # (M, ...)
    set_max: Tensor  # (M, P) bool: the set of the best point
    f_max: Tensor  # (M,): its loss, -inf before the first look


@register_attack("sparse_rs")
@dataclass(frozen=True, kw_only=True)
class SparseRS(BudgetAttack):
    """Random search over which pixels change: some of them give way to others, kept where the loss rises.

    Every pixel that changes gets a random corner of the colour cube, one that differs from what it was. The share of
    the pixels that give way at a time falls with the number of queries. A pixel that gives way may come back with
    another colour; the paper takes new ones only, and a pixel of the wrong colour could never get the right one.

    Cost per sample: at most `queries` + 1 queries, no gradient.

    Args:
        eps: number of pixels that may change ("l0_pixels"), or of entries ("l0"); the call's `eps` overrides it.
        norm: "l0_pixels", where a pixel counts once whatever its channels, or "l0", where every entry counts.
        loss: the loss that is increased; "margin" is the paper's.
        queries: number of queries, including those of the clean image and of the verdict.
        share: share of the changed pixels that give way to others in the first step, alpha in the paper.
        rescale: True shrinks the share after the paper's numbers of queries times `queries` / 10,000; False after the
            paper's numbers themselves.
    """

    norms = ("l0_pixels", "l0")
    stays_inside = True
    paper = "Croce et al. 2022, arXiv 2006.12834"
    knowledge = "scores"
    deterministic = False
    starts_at_x = False

    norm: str = "l0_pixels"
    loss: str = "margin"
    queries: int = 5000
    share: float = 0.3
    rescale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("queries", self.queries, least=3)
        check_share("share", self.share)

    @property
    def total_steps(self) -> int:
        """A query each; the clean image and the verdict take two."""
        return self.queries - 2

    def init(self, oracle: Oracle) -> State:
        """Random pixels at random corners of the colour cube, not yet seen."""
        free = _free(oracle.region)
        chosen = top(free * (oracle.draws.uniform(0, (free.shape[1],)) + 1), oracle.region.eps.flatten(1)).bool() & free
        worst = oracle.x.new_full((len(oracle.x),), -torch.inf, dtype=torch.float64)
        return State(self._coloured(oracle, oracle.x, chosen, 0), chosen, oracle.x, chosen, worst)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Keep the proposal where it is better; then let pixels A of the best set M give way to pixels B."""
        f = loss_values(self.loss, oracle.goal, oracle.logits(state.x_adv), oracle.clean).double()
        better = f > state.f_max
        x_max, M = choose(better, state.x_adv, state.x_max), choose(better, state.changed, state.set_max)
        free, k = _free(oracle.region), M.sum(1, keepdim=True).double()
        count = (k * self._share(i)).floor().clamp(min=1).minimum(k)
        u, v = oracle.draws.uniform(i + 1, (2, M.shape[1])).unbind(1)
        A = top(M * (u + 1), count).bool() & M
        B = top(free * ~(M & ~A) * (v + 1), count).bool() & free
        norm = oracle.region.norm
        left = torch.where((A & ~B)[:, None], norm.places(oracle.x), norm.places(x_max)).reshape(x_max.shape)
        x_adv = self._coloured(oracle, left, B, i + 1)
        return State(x_adv, (M & ~A) | B, x_max, M, torch.where(better, f, state.f_max))

    def _share(self, i: int) -> float:
        place = i * 10_000 / self.queries if self.rescale else i
        return self.share / max((part for mark, part in SHARES if place > mark), default=1)

    def _coloured(self, oracle: Oracle, x: Tensor, chosen: Tensor, step: int) -> Tensor:
        """x with the pixels `chosen` (M, P) at random corners, at the opposite ones where that changes nothing."""
        norm, region = oracle.region.norm, oracle.region
        low, high, now = norm.places(region.low), norm.places(region.high), norm.places(x)
        up = oracle.draws.uniform(step, tuple(now.shape[1:]), stream=1) < 0.5
        idle = (torch.where(up, high, low) == now).all(1, keepdim=True)
        new = torch.where(up ^ idle, high, low)
        return torch.where(chosen[:, None], new, now).reshape(x.shape)


def _free(region: Region) -> Tensor:
    """(M, P) bool: the pixels that can change at all."""
    return region.norm.places(region.high > region.low).any(1)
