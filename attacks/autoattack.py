"""AutoAttack, four attacks one after the other: Croce and Hein 2020, section 5 (arXiv 2003.01690)."""

from dataclasses import dataclass

from advkit.attacks.apgd.apgd import APGD
from advkit.attacks.apgd.apgd_targeted import APGDTargeted
from advkit.attacks.around.eot import eot
from advkit.attacks.around.stages import Stages
from advkit.attacks.fab import FAB
from advkit.attacks.parts.stepless import Stepless
from advkit.attacks.square.square import Square
from advkit.core.attack import Attack, BudgetAttack, register_attack
from advkit.core.door import check_count
from advkit.core.driver import Problem
from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.core.oracle import Oracle
from advkit.core.result import Result

MODES = ("standard", "rand")


@register_attack("autoattack")
@dataclass(frozen=True, kw_only=True)
class AutoAttack(Stepless, BudgetAttack):
    """The four attacks of the paper one after the other; each gets only the samples that no earlier attack fooled.

    "standard": APGD on cross-entropy, APGD towards the nine likeliest classes, FAB, and Square with 5,000 queries;
    100 steps each. "rand", for networks that are not the same twice: APGD on cross-entropy and on DLR, each
    gradient the mean of 20. `cascade` takes a fraction of the time.

    Args:
        mode: "standard" or "rand".
        steps: number of steps of APGD and FAB.
        queries: maximum number of queries of each run of Square.
    """

    norms = ("linf", "l2", "l1")
    paper = "Croce and Hein 2020, arXiv 2003.01690"
    per_sample = False
    targetable = False
    deterministic = False
    stepwise = False

    mode: str = "standard"
    steps: int = 100
    queries: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_count("queries", self.queries, least=3)
        if self.mode == "fast":
            raise InputError("autoattack has no mode 'fast': use the attack cascade, as in cascade(eps=8/255)")
        if self.mode not in MODES:
            raise unknown("mode of autoattack", str(self.mode), MODES)

    @property
    def total_steps(self) -> int:
        """The sum over the attacks inside."""
        return sum(attack.total_steps for attack in self._attacks())

    def init(self, oracle: Oracle) -> None:
        """Never called: the driver runs the attacks inside one by one."""
        raise AssertionError("autoattack has no state of its own")

    def _run(self, model: Model, problem: Problem) -> Result:
        first, *others = self._attacks()
        stages = Stages(model, problem, first)
        for attack in others:
            stages.attack(attack, stages.standing)
        return stages.result

    def _attacks(self) -> list[Attack]:
        """The paper's attacks in the paper's order; Square has no l1."""
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
