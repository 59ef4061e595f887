"""How APGD chooses its step: halving (Croce and Hein 2020, section 3) and, in l1, sparsity (2021, section 3.3)."""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.best_points import choose
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle
from advkit.core.threat import Region


class State(NamedTuple):
    """The point, the one before, the best one so far, and how the step is chosen."""

    x_adv: Tensor  # (M, ...): the point to be evaluated next
    x_last: Tensor  # (M, ...): the point before it
    loss: Tensor  # (M,): at x_last
    x_max: Tensor  # (M, ...): the best point
    f_max: Tensor  # (M,): its loss
    g_max: Tensor  # (M, ...): its gradient
    eta: Tensor  # (M, 1, ...): the step size
    share: Tensor  # (M,): of the entries that a sparse step moves
    rises: Tensor  # (M,) int64: how often the loss rose since the last checkpoint
    held: Tensor  # (M,): f_max at the last checkpoint; -inf if the step was halved there
    entries: Tensor  # (M,): how many entries of x_max differed from x at the last checkpoint

    def updated(self, loss: Tensor, gradient: Tensor) -> "State":
        """With the loss (M,) and the gradient (M, ...) at x_adv."""
        better = loss > self.f_max
        return self._replace(
            loss=loss,
            rises=self.rises + (loss > self.loss),
            x_max=choose(better, self.x_adv, self.x_max),
            f_max=torch.where(better, loss, self.f_max),
            g_max=choose(better, gradient, self.g_max),
        )


def first_state(oracle: Oracle, x: Tensor) -> State:
    """Before the first look, at the points x (M, ...)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    nought = x.new_zeros(len(x), dtype=wide)
    return State(
        x_adv=x,
        x_last=x,
        loss=nought + torch.inf,  # the first look is no rise
        x_max=x,
        f_max=nought - torch.inf,
        g_max=torch.zeros_like(x),
        eta=(SCHEDULES[oracle.region.norm.sparse].first * oracle.region.eps).to(wide),
        share=nought + 0.2,
        rises=nought.long(),
        held=nought - torch.inf,
        entries=nought + x[0].numel(),
    )


class Halving:
    """The step begins at 2 eps and is halved where the loss stagnates; the search goes on from the best point."""

    first, inertia = 2.0, 0.25

    def checkpoints(self, steps: int) -> dict[int, int]:
        """Step -> the number of steps since the checkpoint before: p_1 = .22, then shorter by .03, down to .06."""
        places, window = [0.0, 0.22], 0.22
        while places[-1] < 1:
            window = max(window - 0.03, 0.06)
            places.append(places[-1] + window)
        marks = [math.ceil(p * steps - 1e-9) for p in places]
        return {b: b - a for a, b in pairwise(marks) if a < b < steps}

    def adapt(self, state: State, region: Region, window: int, rho: float) -> tuple[State, Tensor]:
        """After a checkpoint; (M,) bool says which rows go back to their best point."""
        stagnates = (state.rises < rho * window) | (state.f_max <= state.held)
        eta = torch.where(per_row(stagnates, state.eta), state.eta / 2, state.eta)
        held = torch.where(stagnates, -torch.inf, state.f_max)
        return state._replace(eta=eta, held=held, rises=torch.zeros_like(state.rises)), stagnates


class Sparsity:
    """A step moves 1/1.5 of the entries that the best point has moved: long where these get fewer, else shorter."""

    first, inertia = 1.0, 0.0

    def checkpoints(self, steps: int) -> dict[int, int]:
        """Return .04 of the steps, the time between two checks."""
        window = max(1, int(0.04 * steps))
        return dict.fromkeys(range(window, steps, window), window)

    def adapt(self, state: State, region: Region, window: int, rho: float) -> tuple[State, Tensor]:
        """After a checkpoint; (M,) bool says which rows go back to their best point."""
        least = 1e-6 * region.eps  # what rounding leaves is no move
        entries = ((state.x_max - region.x).abs() > least).flatten(1).sum(1).to(state.entries.dtype)
        sparser = entries < 0.95 * state.entries
        most = (self.first * region.eps).to(state.eta.dtype)
        eta = torch.where(per_row(sparser, state.eta), most, (state.eta / 1.5).maximum(most / 10))
        share = entries / (1.5 * region.x[0].numel())
        return state._replace(eta=eta, share=share, entries=entries), sparser


SCHEDULES: dict[bool, Halving | Sparsity] = {False: Halving(), True: Sparsity()}
"""By whether a steepest step of the norm is sparse."""
