"""One perturbation for all images: Moosavi-Dezfooli, Fawzi, Fawzi, Frossard 2016 (arXiv 1610.08401).

Found by gradient steps on the images that it does not fool yet: Shafahi et al. 2018, section 3 (arXiv 1811.11304).
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

        v <- Proj(v + step_size * steepest(sum_i g_i / |g_i|)),  i over the images with v + x_i not fooled

    A gradient counts by its direction, so that no image outweighs the others. Each image is judged with the last v, in
    the range of the pixels; an image that v makes less adversarial comes back as it was. Samples of one batch depend on
    each other. For a data set, or for images that v has not seen: `find_universal`.

    Cost per sample: `steps` gradients and `steps` + 1 queries.

    Args:
        steps: the number of steps.
        step_size: length of a step in units of the pixels; default: 2.5 * eps / steps.
    """

    paper = "Moosavi-Dezfooli et al. 2016, arXiv 1610.08401"
    follows_gradient = False
    per_sample = False
    total_length = 2.5

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
        return moved(oracle, state.delta, gradient, fooled, self.length(oracle))


def moved(oracle: Oracle, delta: Tensor, gradient: Tensor, fooled: Tensor, length: Tensor | float) -> State:
    """One step of v along the sum of the directions of these gradients (M, ...), without the rows that are fooled."""
    region, counts = oracle.region, per_row(oracle.rows.live & ~fooled, gradient)
    unit = torch.nn.functional.normalize(gradient.double().flatten(1), dim=1).view_as(gradient)
    common = torch.where(counts, unit, 0).sum(0, keepdim=True).expand_as(gradient)
    direction = region.norm.ascent(common, delta, region.low - region.x, region.high - region.x, 0.01)
    delta = region.norm.project(delta + length * direction, region.eps).to(delta.dtype)
    return State(region.project(region.x + delta), delta)
