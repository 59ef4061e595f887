"""AutoAttack, four attacks one after the other: Croce and Hein 2020, section 5 (arXiv 2003.01690)."""

from dataclasses import dataclass

import torch

from advkit.attacks._stages import Stages
from advkit.attacks.apgd import APGD
from advkit.attacks.apgd_targeted import APGDTargeted
from advkit.attacks.eot import eot
from advkit.attacks.fab import FAB
from advkit.attacks.square import Square
from advkit.core.attack import Attack, BudgetAttack, check_count, register_attack
from advkit.core.driver import Problem
from advkit.core.errors import unknown
from advkit.core.guard import Model
from advkit.core.oracle import Oracle
from advkit.core.result import Result

MODES = ("standard", "rand", "fast")


@register_attack("autoattack")
@dataclass(frozen=True, kw_only=True)
class AutoAttack(BudgetAttack):
    """What several attacks together leave standing, with nothing to tune; an attack sees only what those before left.

    "standard": APGD on cross-entropy, APGD towards the nine likeliest classes, FAB, and Square with 5,000 queries;
    100 steps each. "rand", for networks that are not the same twice: APGD on cross-entropy and on DLR, each
    gradient the mean of 20. "fast": a cascade of ours, see `_fast`, for a fraction of the passes; which samples get the
    dear attacks depends on the batch, so give it a large one.

    Args:
        mode: "standard", "rand" or "fast".
        steps: of APGD and FAB; "fast" makes a fifth of them at first.
        queries: of Square, the most that it makes.
    """

    norms = ("linf", "l2", "l1")
    paper = "Croce and Hein 2020, arXiv 2003.01690"
    per_sample = False
    targetable = False
    deterministic = False
    stepwise = False
    starts_at_x = False
    total_steps = 0

    mode: str = "standard"
    steps: int = 100
    queries: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_count("queries", self.queries, least=3)
        if self.mode not in MODES:
            raise unknown("mode of autoattack", str(self.mode), MODES)

    def init(self, oracle: Oracle) -> None:
        """Never called: the attacks of which this one is made are driven one by one."""
        raise AssertionError("autoattack has no state of its own")

    def step(self, oracle: Oracle, state: None, i: int) -> None:
        """Never called."""
        raise AssertionError("autoattack makes no step of its own")

    def _run(self, model: Model, problem: Problem) -> Result:
        if self.mode == "fast":
            return self._fast(model, problem)
        first, *others = self._attacks()
        stages = Stages(model, problem, first)
        for attack in others:
            stages.attack(attack, stages.standing)
        return stages.result

    def _attacks(self) -> list[Attack]:
        """Those of the paper, in its order; Square knows no l1."""
        norm, steps = self.norm, self.steps
        if self.mode == "rand":
            return [eot(APGD(norm=norm, loss=loss, steps=steps), 20) for loss in ("cross_entropy", "dlr")]
        square = [Square(norm=norm, rescale=False, queries=self.queries)] if norm in Square.norms else []
        return [
            APGD(norm=norm, steps=steps),
            APGDTargeted(norm=norm, steps=steps),
            FAB(norm=norm, steps=steps),
            *square,
        ]

    def _fast(self, model: Model, problem: Problem) -> Result:
        """Dear attacks only for the samples that are near to falling.

        1. APGD on cross-entropy, 20 steps, on all.
        2. APGD towards the three likeliest classes, 20 steps, where the lead of y is now below .3 of its median on the
           clean images of those that stand; on all if the first attack broke nothing or met zero gradients, a sign of
           masking.
        3. APGD, 100 steps, on the 24 nearest to falling or the twentieth: towards nine classes climbing DLR, then from
           three more starts towards three, climbing cross-entropy, logits and DLR.
        4. Square, 300 queries, on the 32 nearest; while it breaks more than a fiftieth, on all, with up to 5,000.
        """
        short = max(1, self.steps // 5)
        stages = Stages(model, problem, APGD(norm=self.norm, steps=short))
        masked = not stages.broken or bool((stages.result.zero_gradient & stages.standing).any())
        clean = stages.clean_lead()
        cut = torch.inf if masked or not len(clean) else 0.3 * float(clean.median())
        near = stages.standing & (stages.safe < cut)
        stages.attack(APGDTargeted(norm=self.norm, steps=short, classes=3), near)
        count = max(24, int(stages.standing.sum()) // 20)
        for loss, classes in (("dlr", 9), ("cross_entropy", 3), ("margin", 3), ("dlr", 3)):
            among = stages.lowest(count, stages.standing)
            stages.attack(APGDTargeted(norm=self.norm, loss=loss, steps=self.steps, classes=classes), among)
        self._search(stages)
        return stages.result

    def _search(self, stages: Stages) -> None:
        """Stage 4, for gradients that mislead."""
        rows = stages.lowest(32, stages.standing)
        for queries in (300, 900, 2700, 5000) if self.norm in Square.norms else ():
            broken = stages.attack(Square(norm=self.norm, queries=min(queries, self.queries)), rows)
            if broken <= 0.02 * int(rows.sum()):
                return
            rows = stages.standing
