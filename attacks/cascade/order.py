"""The order of the cascade: costly attacks only where cheap ones came near, or where gradients misled them.

It rests on two observations. One long run towards the class that came nearest fools more samples than short runs
towards all classes. Where a loss is flat around the images, runs that start there do not move: ALMA, which comes back
from beyond the boundary, and Square fool the samples that such runs leave.
"""

from dataclasses import replace
from itertools import cycle

from torch import Tensor

from advkit.attacks.alma.alma import ALMA
from advkit.attacks.apgd.apgd import APGD
from advkit.attacks.around.stages import Stages
from advkit.attacks.square.square import Square
from advkit.core.driver import Problem
from advkit.core.guard import Model
from advkit.core.result import Result

FEW = 24
"""Least number of "nearest" samples: those on whose best point y leads least."""

NEAR = 0.3
"""A sample has come near where y leads by less than this share of the median lead on the clean images."""

WORTH = 1 / 8
"""An attack that breaks this share of its samples, or more, is followed by another like it."""

HINT = 1 / 16
"""If ALMA or Square breaks this share of a few samples, or more, gradients have misled, and all get it."""


class Order:
    """The stages of a cascade one after the other, see `Cascade`.

    Args:
        model: images -> logits.
        problem: the batch.
        norm: the norm of the ball.
        steps: number of steps of ALMA; the other stages make shares of it, see `Cascade`.
        queries: maximum number of queries of each run of Square.
    """

    def __init__(self, model: Model, problem: Problem, *, norm: str, steps: int, queries: int) -> None:
        self._norm, self._steps, self._queries = norm, steps, queries
        self._cut = 0.0
        self._stages = Stages(model, problem, APGD(norm=norm, steps=max(1, steps // 5)))
        self._blind = False  # whether even the margin's gradient was zero somewhere

    def run(self) -> Result:
        """Run all stages after the first, which the constructor has run."""
        self._classes()
        self._boundary()
        self._long()
        self._scores()
        return self._stages.result

    def _classes(self) -> None:
        """Find the nearest class: a short run to each of nine classes, then a longer run to the three nearest.

        Only near samples get them. All samples get the short runs if there is no sign that gradients help: the gradient
        of cross-entropy is zero where logits lie far apart, that of the margin is not.
        """
        stages = self._stages
        clean = stages.clean_lead()
        everywhere = not stages.broken or bool(stages.blind.any()) or not len(clean)
        self._cut = NEAR * float(clean.median()) if len(clean) else 0.0
        rows = stages.standing if everywhere else self._near() | stages.lowest(FEW, stages.standing)
        for classes, loss, steps in ((9, "margin", self._steps // 8), (3, "dlr", self._steps // 2)):
            stages.aim(APGD(norm=self._norm, loss=loss, steps=max(1, steps)), rows, classes)
            self._blind |= bool(stages.blind.any())
            rows = self._near() | stages.lowest(FEW, stages.standing)

    def _near(self) -> Tensor:
        """(N,) bool: the standing samples whose lead has become small."""
        return self._stages.standing & (self._stages.safe < self._cut)

    def _boundary(self) -> None:
        """ALMA, which comes from beyond the boundary, for a loss that is flat around the images."""
        if self._norm not in ALMA.norms:
            return
        stages, attack, few = self._stages, ALMA(norm=self._norm, steps=self._steps), self._probe(FEW)
        broken = stages.attack(attack, few)
        if broken < HINT * int(few.sum()):
            return
        others = stages.standing & ~few
        broken += stages.attack(attack, others)
        if broken >= WORTH * int((few | others).sum()):
            stages.attack(replace(attack, steps=4 * self._steps), stages.standing)

    def _long(self) -> None:
        """Long runs on the nearest samples, towards the nearest class; fewer samples after a run that fools few."""
        stages = self._stages
        first = count = max(FEW, int(stages.standing.sum()) // 20, int(self._near().sum()) // 2)
        for loss in cycle(("dlr", "cross_entropy", "margin")):
            rows = stages.lowest(count, stages.standing)
            attack = APGD(norm=self._norm, loss=loss, steps=2 * self._steps)
            if stages.aim(attack, rows, 1) < WORTH * int(rows.sum()):
                count //= 2
            if 2 * count < first or not int(rows.sum()):
                return

    def _scores(self) -> None:
        """Square on a few samples, then on all while gradients seem to mislead; on all at once where they are zero."""
        if self._norm not in Square.norms:
            return
        stages = self._stages
        rows = stages.standing if self._blind else self._probe(FEW)
        for queries in (self._queries,) if self._blind else (300, 900, self._queries):
            attack = Square(norm=self._norm, rescale=False, queries=min(queries, self._queries))
            if stages.attack(attack, rows) < max(1, HINT * int(rows.sum())):
                return
            rows = stages.standing

    def _probe(self, count: int) -> Tensor:
        """(N,) bool: the `count` nearest standing samples, and about as many spread over the others."""
        standing = self._stages.standing
        rows = self._stages.lowest(count, standing)
        place = (standing & ~rows).cumsum(0)  # 1, 2, ... among the others
        stride = max(1, int(place[-1]) // count)
        return rows | (standing & ~rows & (place % stride == 0))
