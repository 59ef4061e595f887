"""Several attacks in turn on the rest of a batch: each gets some of the samples, the best point is kept."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from advkit.attacks.around.aimed import Aimed
from advkit.core.attack import Attack
from advkit.core.best_points import choose, put, take
from advkit.core.classify import classify
from advkit.core.driver import Problem
from advkit.core.goals import leads
from advkit.core.guard import Model
from advkit.core.result import Result, better_of


class Stages:
    """A batch under several attacks.

    Args:
        model: images -> logits.
        problem: the batch; with stop="fooled" a fooled sample is left alone.
        first: the attack that every sample gets.

    Attributes:
        result: the best point of each sample so far, and what all attacks have cost.
        blind: (N,) bool, True where the latest attack met a zero gradient and did not fool the sample.
        leads: (N, K), the smallest lead of y over each class on any point that an attack has returned; infinite for
            y itself.
    """

    def __init__(self, model: Model, problem: Problem, first: Attack) -> None:
        self._model, self._problem, self._number = model, problem, 0
        self._eps = torch.as_tensor(problem.threat.eps, dtype=torch.float64, device=problem.x.device).expand(
            len(problem.x)
        )
        self.result: Result = first._run(model, problem)
        self.blind = self.result.zero_gradient & ~self.result.success
        self.leads = leads(self.result.logits, problem.y)

    @property
    def safe(self) -> Tensor:
        """(N,): the lead of y on the best point; below 0 where it is fooled."""
        return self.leads.amin(1)

    @property
    def broken(self) -> bool:
        """Whether any sample was fooled that was right at first."""
        return bool((self.result.success & (self.result.distance > 0)).any())

    @property
    def standing(self) -> Tensor:
        """(N,) bool: True where no attack has fooled the sample yet."""
        if self._problem.stop == "never":
            return torch.ones_like(self.result.success)
        return ~self.result.success

    def clean_lead(self) -> Tensor:
        """(M,): the lead of y on the clean images of the M standing samples; one query each."""
        problem, rows = self._problem, self.standing
        index = rows.nonzero().squeeze(1)
        if not len(index):
            return problem.x.new_zeros(0)
        logits = classify(self._model, problem.x[index].clone())
        self.result = replace(self.result, queries=self.result.queries + rows)
        return leads(logits, problem.y[index]).amin(1)

    def lowest(self, count: int, among: Tensor) -> Tensor:
        """(N,) bool: the `count` samples among (N,) bool on whose best point y leads least."""
        order = torch.where(among, self.safe, torch.inf).argsort(stable=True)
        chosen = torch.zeros_like(among).scatter(0, order[:count], True)
        return chosen & among

    def attack(self, attack: Attack, rows: Tensor) -> int:
        """Attack the samples rows (N,) bool, and return how many of them are fooled for the first time."""
        self._prepare()
        index = rows.nonzero().squeeze(1)  # a host sync, between attacks
        return self._keep(self._on(attack, index), index) if len(index) else 0

    def aim(self, attack: Attack, rows: Tensor, classes: int) -> int:
        """Attack the samples rows (N,) bool, towards each of the classes over which y has led least.

        As many pairs of sample and class in a pass as the batch has samples: fewer passes where few samples are left,
        and no more memory. How many samples it is the first to fool.
        """
        self._prepare()
        index, fooled = rows.nonzero().squeeze(1), 0
        nearest = self.leads.argsort(dim=1, stable=True)[:, :-1][:, :classes]
        together = max(1, len(rows) // max(1, len(index)))
        for first in range(0, nearest.shape[1], together):
            index = index[self.standing[index]]
            if not len(index):
                break
            aims = nearest[index, first : first + together].T
            found = self._on(Aimed(attack=attack, classes=aims.flatten()), index.repeat(len(aims)))
            for rank in range(len(aims)):
                fooled += self._keep(_at(found, slice(rank * len(index), (rank + 1) * len(index))), index)
        return fooled

    def _prepare(self) -> None:
        self._number += 1
        self.blind = torch.zeros_like(self.blind)

    def _on(self, attack: Attack, index: Tensor) -> Result:
        return attack._run(self._model, self._part(attack, index))

    def _keep(self, new: Result, index: Tensor) -> int:
        """What an attack on these samples, each of them once, has found; how many it is the first to fool."""
        old, before = _at(self.result, index), self.leads[index]
        new = self._inside(new, old, index)
        after = leads(new.logits, self._problem.y[index])
        self.blind = put(self.blind, index, self.blind[index] | (new.zero_gradient & ~new.success))
        self.leads = put(self.leads, index, before.minimum(after))
        best = better_of(old, new, after.amin(1) < before.amin(1))
        self.result = Result(**{name: put(value, index, vars(best)[name]) for name, value in vars(self.result).items()})
        x_adv = torch.empty_like(self._problem.x).copy_(self.result.x_adv)  # in the memory format of x
        self.result = replace(self.result, x_adv=x_adv)
        return int((best.success & ~old.success).sum())

    def _part(self, attack: Attack, index: Tensor) -> Problem:
        """The problem of these samples; a minimal attack gets no ball."""
        problem = self._problem
        eps = torch.inf if attack.kind == "minimal" else self._eps[index]
        draws = problem.draws.branch(self._number, family=2)
        return problem._replace(
            x=problem.x[index],
            y=problem.y[index],
            target=take(problem.target, index),
            threat=problem.threat.part(index, eps),
            clean=None,  # each attack looks for itself, as its count of queries says
            draws=draws._replace(sample_ids=draws.sample_ids[index]),
        )

    def _inside(self, new: Result, old: Result, index: Tensor) -> Result:
        """`new` where it lies in the ball (a minimal attack looks beyond it), elsewhere `old` at the cost of new."""
        inside = new.distance <= self._eps[index] * (1 + 1e-6)
        x_adv, distance, logits, success = (
            choose(inside, getattr(new, name), getattr(old, name))
            for name in ("x_adv", "distance", "logits", "success")
        )
        return replace(new, x_adv=x_adv, distance=distance, logits=logits, success=success)


def _at(result: Result, index: Tensor | slice) -> Result:
    """These samples of the result."""
    parts: dict[str, Any] = {name: value if value is None else value[index] for name, value in vars(result).items()}
    return Result(**parts)
