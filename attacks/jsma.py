"""JSMA, the Jacobian-based saliency map attack: Papernot et al. 2015, algorithms 2 and 3 (arXiv 1511.07528)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import MinimalAttack, register_attack
from advkit.core.door import check_count
from advkit.core.goals import wide
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """The latest point, and the entries, or pixels, that may still move."""

    x_adv: Tensor  # (M, ...)
    free: Tensor  # (M, P) bool
    done: Tensor  # (M,) bool


@register_attack("jsma")
@dataclass(frozen=True, kw_only=True)
class JSMA(MinimalAttack):
    """Two entries, or pixels, a step go to a bound: the pair that raises the wanted logit and lowers the others most.

    With a = the gain of the target's logit and b that of the sum of the others, the pair with a > 0 > b and the largest
    -a b is taken; where there is none, that with the largest a - b. Untargeted: the label's logit falls, the others'
    sum rises. Each entry may go up or down, whichever helps, in one move (the paper's theta = 1).

    Cost per sample: 1 query and 2 gradients a step.

    Args:
        norm: "l0", where two entries change a step, or "l0_pixels", where two pixels do in all channels.
        target: the class to reach, see `Attack`.
        steps: maximum number of steps; each changes two entries.
        pool: pairs are sought among this many entries with the largest a - b; the paper searches all pairs, which grow
            with the square of the entries.
    """

    norms = ("l0", "l0_pixels")
    paper = "Papernot et al. 2015, arXiv 1511.07528"
    climbs = False
    needs_classes = True

    norm: str = "l0"
    steps: int = 100
    pool: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_count("pool", self.pool)

    @property
    def total_steps(self) -> int:
        """`steps`."""
        return self.steps

    def init(self, oracle: Oracle) -> State:
        """Begin at the clean image, with every entry free."""
        free = torch.ones_like(oracle.region.norm.places(oracle.x)[:, 0], dtype=torch.bool)
        return State(oracle.x, free, torch.zeros_like(oracle.fooled))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Move the best pair."""
        region, norm, goal, x_adv = oracle.region, oracle.region.norm, oracle.goal, state.x_adv
        own = torch.nn.functional.one_hot(goal.label, oracle.answer.shape[1])
        weights = -goal.sign * torch.stack([own, 1 - own], 1).to(wide(oracle.answer).dtype)  # (M, 2, K)
        _, gradients = oracle.jacobian(x_adv, weights)
        up, down = gradients.unbind(1)  # of the wanted logit, of the others
        goes = torch.where(up > down, region.high, region.low)
        a, b = norm.places(up * (goes - x_adv)).sum(1), norm.places(down * (goes - x_adv)).sum(1)  # (M, P)
        place, pair = self._best_pair(a, b, state.free & norm.places(goes != x_adv).any(1))
        moved = torch.zeros_like(state.free).scatter(1, place, pair)
        mover = (moved & ~oracle.fooled[:, None])[:, None]
        x_adv = torch.where(mover, norm.places(goes), norm.places(x_adv)).reshape(x_adv.shape)
        return State(x_adv, state.free & ~moved, oracle.fooled)

    def _best_pair(self, a: Tensor, b: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        """The pool's entries (M, P), and which two of them are the pair (M, P) bool."""
        score = torch.where(free, a - b, -torch.inf)
        pooled = score.topk(min(self.pool, score.shape[1]), dim=1)
        place, count = pooled.indices, pooled.indices.shape[1]
        a_, b_ = a.gather(1, place), b.gather(1, place)
        first, second = a_[:, :, None] + a_[:, None], b_[:, :, None] + b_[:, None]  # (M, P, P)
        both = torch.isfinite(pooled.values)[:, :, None] & torch.isfinite(pooled.values)[:, None]
        distinct = ~torch.eye(count, dtype=torch.bool, device=a.device) | (count == 1)
        salient = torch.where((first > 0) & (second < 0) & both & distinct, -first * second, -torch.inf)
        salient = salient.flatten(1)
        best = salient.argmax(1)  # where none is salient, the first two of the pool
        best = torch.where(salient.amax(1).isfinite(), best, torch.full_like(best, min(count - 1, 1)))
        ranks = torch.arange(count, device=a.device)
        pair = (ranks == (best // count)[:, None]) | (ranks == (best % count)[:, None])
        return place, pair & pooled.values.isfinite()
