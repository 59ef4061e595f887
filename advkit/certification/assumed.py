"""Bounds inside a part of the ball, if a counterexample lies there.

Kotha, Brix, Kolter, Dvijotham, Zhang 2023, "Provably bounding neural network preimages", arXiv 2302.01404: only points
whose margin is at most 0 matter, and fewer points have tighter bounds. Where no point is left the part is certified.
"""

import torch
from torch import Tensor

from advkit.certification.alpha_crown import Relaxation, Unit, raised
from advkit.certification.bounds import Bounds
from advkit.certification.domains import Domains
from advkit.certification.graph import Graph
from advkit.certification.relu_and_pooling import Maximum

ROWS = 256
"""Units that are bounded at once."""


def narrowed(found: Domains, made: Bounds, light: Bounds, C: Tensor, *, units: int, steps: int) -> Domains:
    """The domains with tighter bounds in front of the last bend; an empty domain has the bound infinity.

    Args:
        found: domains that have own bounds of that node.
        made: bounds of every node over the balls.
        light: result of `made.light()`.
        C: coefficients of the outputs (M, K), whose sum is at most 0 at a counterexample.
        units: number of units that are bounded in each domain, those of the largest weight.
        steps: number of steps of ascent.
    """
    bend = made.graph.bends[-1]
    place = made.graph.nodes[bend].inputs[0]
    low, high = found.low[place].clone(), found.high[place].clone()
    part, unit = _heaviest(found, light, C, bend, units)
    for some in torch.split(torch.arange(len(part), device=part.device), ROWS // 2):
        m, u = part[some], unit[some]
        ends = _least(found.take(m.repeat(2)), made, light, C[m.repeat(2)], place, u, steps)
        low[m, u] = torch.maximum(low[m, u], ends[: len(m)])
        high[m, u] = torch.minimum(high[m, u], -ends[len(m) :])
    empty = (low > high).any(1)
    bound = torch.where(empty, torch.inf, found.bound)
    age = torch.zeros_like(found.age)
    return found._replace(bound=bound, age=age, low={**found.low, place: low}, high={**found.high, place: high})


def assumes(graph: Graph) -> bool:
    """Whether `narrowed` knows the network: its last bend is a rectifier behind another bend."""
    last = graph.nodes[graph.bends[-1]].operation if graph.bends else None
    return len(graph.bends) > 1 and isinstance(last, Maximum) and last.is_rectifier


def with_own_bounds(found: Domains, made: Bounds) -> Domains:
    """The domains with bounds of their own in front of the last bend, at first those of the ball."""
    place = made.graph.nodes[made.graph.bends[-1]].inputs[0]
    low, high = ({place: ends[place][found.image]} for ends in (made.low, made.high))
    return found._replace(low=low, high=high)


def has_own_bounds(found: Domains, made: Bounds) -> Tensor:
    """(M,) bool: the bounds in front of the last bend differ from those of the ball."""
    (place,) = found.low
    low, high = made.low[place][found.image], made.high[place][found.image]
    return ((found.low[place] != low) | (found.high[place] != high)).any(1)


def with_bounds_of(others: Domains, found: Domains, row: Tensor) -> Domains:
    """The domains with the own bounds of others, which contain them.

    Args:
        others: domains with bounds of their own.
        found: parts of them.
        row: the row of `others` in which each part lies.
    """
    low, high = ({i: t[row] for i, t in ends.items()} for ends in (others.low, others.high))
    return found._replace(low=low, high=high)


def _height(low: Tensor, high: Tensor) -> Tensor:
    """How far apart the lines of every rectifier are."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    return -low * high / (high - low).clamp(min=1e-300)


def _heaviest(found: Domains, light: Bounds, C: Tensor, bend: int, count: int) -> tuple[Tensor, Tensor]:
    """The units whose lines are farthest apart, times their coefficients: rows of the domains, and units."""
    relaxed = Relaxation(found.bounds(light), found.splits, found.alpha, found.beta)
    relaxed.line(C.to(light.ball.x.dtype))
    place = light.graph.nodes[bend].inputs[0]
    score = (
        _height(found.low[place], found.high[place])
        * (found.splits[bend][:, 0] == 0)
        * (relaxed.seen[bend].a.flatten(1).abs() + 1e-12)
    )
    best, unit = score.topk(min(count, score.shape[1]), dim=1)
    part, at = (best > 0).nonzero().unbind(1)  # note: a wait for the device
    return part, unit[part, at]


def _least(found: Domains, made: Bounds, light: Bounds, C: Tensor, place: int, unit: Tensor, steps: int) -> Tensor:
    """Lower bounds of units, and after them of their negatives (2 M,)."""
    rows = C.new_zeros(len(C), made.low[place].shape[1])
    sign = torch.ones(len(unit), dtype=C.dtype, device=C.device)
    rows.scatter_(1, unit.repeat(2)[:, None], torch.cat([sign, -sign])[:, None])
    best = raised(
        found.bounds(made),
        C,
        light=found.bounds(light),
        splits=found.splits,
        alpha=found.alpha,
        unit=Unit(place, rows),
        steps=steps,
    )
    return best.bound
