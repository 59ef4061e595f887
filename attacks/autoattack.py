"""AutoAttack, four attacks one after the other: Croce and Hein 2020, section 5 (arXiv 2003.01690)."""

from dataclasses import dataclass

from advkit.attacks._cascade import Cascade
from advkit.attacks._stages import Stages
from advkit.attacks._stepless import Stepless
from advkit.attacks.apgd import APGD
from advkit.attacks.apgd_targeted import APGDTargeted
from advkit.attacks.eot import eot
from advkit.attacks.fab import FAB
from advkit.attacks.square import Square
from advkit.core.attack import Attack, BudgetAttack, register_attack
from advkit.core.door import check_count
from advkit.core.driver import Problem
from advkit.core.errors import unknown
from advkit.core.guard import Model
from advkit.core.oracle import Oracle
from advkit.core.result import Result

MODES = ("standard", "rand", "fast")


@register_attack("autoattack")
@dataclass(frozen=True, kw_only=True)
class AutoAttack(Stepless, BudgetAttack):
    """What several attacks together leave standing, with nothing to tune; an attack sees only what those before left.

    "standard": APGD on cross-entropy, APGD towards the nine likeliest classes, FAB, and Square with 5,000 queries;
    100 steps each. "rand", for networks that are not the same twice: APGD on cross-entropy and on DLR, each
    gradient the mean of 20. "fast": a cascade of ours that attacks only those with dear attacks that are near to
    falling; which these are depends on the batch, so give it a large one.

    1. APGD on cross-entropy, a fifth of the steps.
    2. APGD towards nine classes, an eighth of the steps, where the lead of y is now below .3 of its median on the clean
       images of those that stand, the 24 nearest to falling at least; on all if the first attack broke nothing or met
       zero gradients, signs of masking. Then towards the three that came nearest, half the steps, on those below.
    3. ALMA (l2, l1) on the 24 nearest and about as many others; if it breaks a sixteenth, on all, and if that makes an
       eighth, on all that stand with four times the steps.
    4. APGD, twice the steps, on the nearest half of those below, 24 or the twentieth at least, each towards the class
       that came nearest, climbing DLR, cross-entropy and the margin in turn; while a run breaks less than an eighth,
       the next gets half as many, to a second such run.
    5. Square (linf, l2), 300 queries, on the 24 nearest and about as many others; while it breaks a sixteenth, on all,
       with 900 and then `queries`, at once where gradients are zero.

    Args:
        mode: "standard", "rand" or "fast".
        steps: of APGD, FAB and ALMA.
        queries: of Square, the most that a run makes.
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
        if self.mode not in MODES:
            raise unknown("mode of autoattack", str(self.mode), MODES)

    def init(self, oracle: Oracle) -> None:
        """Never called: the attacks of which this one is made are driven one by one."""
        raise AssertionError("autoattack has no state of its own")

    def _run(self, model: Model, problem: Problem) -> Result:
        if self.mode == "fast":
            return Cascade(model, problem, norm=self.norm, steps=self.steps, queries=self.queries).run()
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
