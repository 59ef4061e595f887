"""One pixel, by differential evolution: Su, Vargas, Sakurai 2019, sections 3.2 and 3.3 (arXiv 1710.08864)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.door import check_count, check_positive
from advkit.core.losses import loss_values
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """A population of n candidates: each d pixels of 2 + c genes, row and column as shares of the sides, and colour."""

    x_adv: Tensor  # (M, ...): the image of the candidate
    candidate: Tensor  # (M, d, 2 + c)
    parents: Tensor  # (M, n, d, 2 + c): the generation from which children are made
    fittest: Tensor  # (M, n, d, 2 + c): the same, each replaced by its child where that is better
    fitness: Tensor  # (M, n): the loss of each


@register_attack("one_pixel")
@dataclass(frozen=True, kw_only=True)
class OnePixel(BudgetAttack):
    """Differential evolution over places and colours of `eps` pixels; a child replaces its father where it is better.

    A child is `a + F (b - c)`, a, b and c being three other candidates of the last generation. Places outside the
    image are mirrored at its edge; colours are cut off at the range.

    Cost per sample: at most `population * (generations + 1)` + 2 queries, no gradient.

    Args:
        eps: number of pixels that may change ("l0_pixels"), or of entries ("l0"); the call's `eps` overrides it.
        norm: "l0_pixels", where a pixel counts once whatever its channels, or "l0", where every entry counts.
        loss: the loss that is increased; of the cross-entropy the order is that of the paper's probability.
        population: number of candidates.
        generations: number of times that every candidate gets a child.
        scale: the factor F of the difference of two candidates.
    """

    norms = ("l0_pixels", "l0")
    stays_inside = True
    paper = "Su et al. 2019, arXiv 1710.08864"
    knowledge = "scores"
    deterministic = False
    starts_at_x = False

    eps: float | None = 1.0
    norm: str = "l0_pixels"
    population: int = 400
    generations: int = 100
    scale: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("population", self.population, least=4)
        check_count("generations", self.generations)
        check_positive("scale", self.scale)

    @property
    def total_steps(self) -> int:
        """A query each; the last child is judged by the verdict."""
        return self.population * (self.generations + 1) - 1

    def init(self, oracle: Oracle) -> State:
        """Uniform places, and normal colours about grey as in section 3.3; none is seen yet."""
        channels, places = oracle.region.norm.places(oracle.x).shape[1:]
        d = max(1, int(min(oracle.region.most, places)))
        shape = d, self.population  # in this order the first pixels are the same whatever d is
        place = oracle.draws.uniform(0, (*shape, 2))
        colour = (0.5 + 0.5 * oracle.draws.normal(0, (*shape, channels), stream=1)).clamp(0, 1)
        genes = torch.cat([place, colour], 3).transpose(1, 2).contiguous()
        worst = torch.full_like(genes[:, :, 0, 0], -torch.inf)
        first = genes[:, 0].clone()
        return State(_image(oracle, first), first, genes, genes.clone(), worst)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Judge the candidate; the next is another of the first generation, or the child of the next father."""
        f = loss_values(self.loss, oracle.goal, oracle.logits(state.x_adv), oracle.clean).double()
        j = i % self.population
        fittest, fitness = state.fittest, state.fitness
        better = f > fitness[:, j]
        fittest[:, j] = torch.where(better[:, None, None], state.candidate, fittest[:, j])  # in place: nobody else's
        fitness[:, j] = torch.where(better, f, fitness[:, j])
        parents = fittest.clone() if j == self.population - 1 else state.parents
        first = i + 1 < self.population
        candidate = parents[:, i + 1].clone() if first else self._child(oracle, parents, i + 1)
        return State(_image(oracle, candidate), candidate, parents, fittest, fitness)

    def _child(self, oracle: Oracle, parents: Tensor, i: int) -> Tensor:
        """a + F (b - c), of three others than the father."""
        n, row = self.population, torch.arange(len(parents), device=parents.device)
        u, v, w = (oracle.draws.uniform(i, (3,)) * torch.arange(n - 1, n - 4, -1, device=row.device)).long().unbind(1)
        v = v + (v >= u)
        w = w + (w >= u.minimum(v))
        w = w + (w >= u.maximum(v))  # three different numbers below n - 1: how far each lies behind the father
        a, b, c = (parents[row, (i + 1 + offset) % n] for offset in (u, v, w))
        child = a + self.scale * (b - c)
        place = 1 - (1 - child[..., :2].abs()).abs()
        return torch.cat([place, child[..., 2:].clamp(0, 1)], 2)


def _image(oracle: Oracle, candidate: Tensor) -> Tensor:
    """x with the pixels of the candidate (M, d, 2 + c), the first eps of them; of two at one place the later counts."""
    region, (channels, height, width) = oracle.region, oracle.region.norm.frame(tuple(oracle.x.shape[1:]))
    sides = candidate.new_tensor([height, width])
    row, column = (candidate[..., :2] * sides).long().minimum(sides.long() - 1).unbind(2)  # (M, d)
    number = torch.arange(1, candidate.shape[1] + 1, device=row.device)
    number = torch.where(number <= region.eps.flatten(1), number, 0)
    drawn = number.new_zeros(len(row), height * width).scatter_reduce(1, row * width + column, number, "amax")
    genes = (drawn - 1).clamp(min=0)[:, None].expand(-1, channels, -1)
    colour = candidate[..., 2:].transpose(1, 2).gather(2, genes)  # (M, c, P)
    low, high, now = (region.norm.places(t) for t in (region.low, region.high, oracle.x))
    new = torch.clamp(low + colour * (high.double() - low), low, high).to(now.dtype)
    return torch.where(drawn[:, None] > 0, new, now).reshape(oracle.x.shape)
