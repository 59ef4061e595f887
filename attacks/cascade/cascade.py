"""A cascade of several attacks, in a fraction of the time of AutoAttack (Croce and Hein 2020, arXiv 2003.01690)."""

from dataclasses import dataclass

from advkit.attacks.cascade.order import Order
from advkit.attacks.parts.stepless import Stepless
from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.door import check_count
from advkit.core.driver import Problem
from advkit.core.guard import Model
from advkit.core.oracle import Oracle
from advkit.core.result import Result


@register_attack("cascade")
@dataclass(frozen=True, kw_only=True)
class Cascade(Stepless, BudgetAttack):
    """Several attacks in turn: cheap ones on all samples, costly ones on those that are likely to fall to them.

    It serves where AutoAttack serves: a robust error with nothing to tune. It is an attack of advkit and of no paper;
    figures that are compared with published ones need `autoattack`. A sample that is fooled is attacked no further,
    and each sample keeps the best point that any attack has found.

    "Lead" is the logit of the true class y minus the largest other logit, on the best point found so far. A sample is
    "standing" while no attack has fooled it, and "near" while its lead is below .3 of the median lead that the standing
    samples have on their clean images. The "24 nearest" are the standing samples with the smallest leads.

    1. Every sample gets APGD on cross-entropy, with a fifth of `steps`.
    2. The near samples and the 24 nearest get APGD towards each of nine classes, with an eighth of `steps`. All
       standing samples get it if the first attack fooled none, or met gradients that are zero: cross-entropy's vanish
       where logits lie far apart. Then the near samples and the 24 nearest get APGD towards the three classes that came
       closest, with half of `steps`.
    3. l2 and l1 only: ALMA, which approaches the boundary from beyond it, is tried on the 24 nearest and on about as
       many others. If it fools a sixteenth of them, all standing samples get it; if it then has fooled an eighth, they
       get it again with four times `steps`.
    4. Half of the near samples, at least 24 and at least a twentieth of the standing ones, get APGD with twice `steps`
       towards the class that came closest, on the losses DLR, cross-entropy and margin in turn. A run that fools less
       than an eighth halves the number of samples of the next; the second such run is the last.
    5. linf and l2 only: Square, which needs no gradients, is tried with 300 queries on the 24 nearest and on about as
       many others. While it fools a sixteenth, all standing samples get it, with 900 and then with `queries` queries.
       Where gradients of the margin are zero, all get `queries` at once.

    Which samples are near depends on the batch, so the same image may meet other attacks in another batch: give the
    attack large batches.

    Args:
        steps: number of steps of ALMA; the lengths of the other stages are shares of it.
        queries: the largest number of queries that one run of Square makes.
    """

    norms = ("linf", "l2", "l1")
    paper = "advkit; its attacks follow Croce and Hein 2020, arXiv 2003.01690"
    per_sample = False
    targetable = False
    deterministic = False
    stepwise = False

    steps: int = 100
    queries: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_count("queries", self.queries, least=3)

    @property
    def total_steps(self) -> int:
        """About the steps of the stages together: how many there are depends on what they find."""
        return 5 * self.steps + self.queries

    def init(self, oracle: Oracle) -> None:
        """Never called: the driver runs the attacks inside one by one."""
        raise AssertionError("cascade has no state of its own")

    def _run(self, model: Model, problem: Problem) -> Result:
        return Order(model, problem, norm=self.norm, steps=self.steps, queries=self.queries).run()
