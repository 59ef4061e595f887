"""One perturbation for all images: Moosavi-Dezfooli, Fawzi, Fawzi, Frossard 2016 (arXiv 1610.08401).

Found by gradient steps: Shafahi et al. 2018, section 3 (arXiv 1811.11304).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.attacks.parts.steps import StepAttack
from advkit.core.attack import register_attack
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """The images with the perturbation, and the perturbation: one row an image, all rows the same up to their eps."""

    x_adv: Tensor  # (M, ...)
    delta: Tensor  # (M, ...)


@register_attack("universal")
@dataclass(frozen=True, kw_only=True)
class Universal(StepAttack):
    """One perturbation for the batch: steps along the mean gradient of the images that it does not fool yet.

        v <- Proj(v + a_t * steepest(sum_i g_i / |g_i|)),  i over the images with v + x_i not fooled
        a_t = step_size * (1 - t / steps)

    A gradient counts by its direction, so that no image outweighs the others. Each image is judged with the last v, in
    the range of the pixels; an image that v makes less adversarial comes back as it was. Samples of one batch depend on
    each other. For a data set, or for images that v has not seen: `find_universal`.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        steps: the number of steps.
        step_size: length of the first step in units of the pixels; default: eps. The later ones fall evenly towards 0.
    """

    paper = "Moosavi-Dezfooli et al. 2016, arXiv 1610.08401"
    follows_gradient = False
    per_sample = False

    steps: int = 20

    def init(self, oracle: Oracle) -> State:
        """No perturbation yet."""
        return State(oracle.x, torch.zeros_like(oracle.x))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """v moves; no image stops on the way, for the next v need not fool it any more."""
        rows = oracle.rows
        gradient = oracle.gradient(state.x_adv, self.loss)
        fooled = oracle.goal.margin(oracle.answer) > 0
        record = oracle.rows.record._replace(best=rows.record.best)
        oracle.rows = oracle.rows._replace(record=record, live=rows.live)
        return moved(oracle, state.delta, gradient, rows.live & ~fooled, self.length(oracle) * (1 - i / self.steps))

    def length(self, oracle: Oracle) -> Tensor:
        """(M, 1, ...): that of the first step."""
        region = oracle.region
        first = region.norm.stride(region.eps, region.low, region.high)
        first = first if self.step_size is None else torch.full_like(first, self.step_size)
        return first.to(torch.promote_types(oracle.x.dtype, torch.float32))


def moved(oracle: Oracle, delta: Tensor, gradient: Tensor, counts: Tensor, length: Tensor) -> State:
    """One step of v along the sum of the directions of the gradients (M, ...) of the rows that count (M,) bool."""
    region = oracle.region
    unit = torch.nn.functional.normalize(gradient.double().flatten(1), dim=1).view_as(gradient)
    common = torch.where(per_row(counts, unit), unit, 0).sum(0, keepdim=True).expand_as(gradient)
    direction = region.norm.ascent(common, delta, region.low - region.x, region.high - region.x, 0.01)
    delta = region.norm.project(delta + length * direction, region.eps).to(delta.dtype)
    return State(region.project(region.x + delta), delta)
