"""APGD towards the likeliest wrong classes: Croce and Hein 2020, section 4 and equation 7 (arXiv 2003.01690)."""

from dataclasses import dataclass

from torch import Tensor

from advkit.attacks.apgd.apgd import APGD
from advkit.attacks.around.runs import State
from advkit.attacks.around.targets import Targets
from advkit.attacks.parts.random_start import RandomStart
from advkit.core.attack import register_attack
from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.goals import is_aimed
from advkit.core.oracle import Oracle


@register_attack("apgd_targeted")
@dataclass(frozen=True, kw_only=True)
class APGDTargeted(RandomStart):
    """APGD with a target, run towards each of the likeliest classes other than y; any class other than y is a success.

    One class after the other on the same batch, so that it needs no more memory than APGD. Where the model has no more
    than `classes`, each wrong one is aimed at once. Cost per sample: `classes` times APGD's, less what leaves early.

    Args:
        loss: the loss of the target: "dlr" (needs 4 classes), "margin" or "cross_entropy".
        classes: number of target classes.
        steps: number of steps towards each class.
        rho: the step size is kept if at least this share of the steps has raised the loss, see `APGD`.
        random_start: whether to begin at a random point of the ball, a new one for each class.
    """

    norms = ("linf", "l2", "l1")
    paper = "Croce and Hein 2020, arXiv 2003.01690"
    targetable = False
    needs_classes = True

    loss: str = "dlr"
    classes: int = 9
    steps: int = 100
    rho: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("classes", self.classes)
        _ = self._inside

    def check_aim(self, target: str | int | Tensor) -> None:
        """Any class other than y is a success, so there is none to reach.

        Raises:
            InputError: there is a target.
        """
        if is_aimed(target):
            raise InputError("apgd_targeted aims at the likeliest classes in turn: leave target out; apgd takes one")

    @property
    def _inside(self) -> Targets:
        apgd = APGD(norm=self.norm, loss=self.loss, steps=self.steps, rho=self.rho, random_start=self.random_start)
        return Targets(attack=apgd, number=self.classes)

    @property
    def total_steps(self) -> int:
        """`steps` for each class, and a look at each last point."""
        return self._inside.total_steps

    def init(self, oracle: Oracle) -> State:
        """APGD's start towards the likeliest class."""
        return self._inside.init(oracle)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Take a step of APGD, or start towards the next class."""
        return self._inside.step(oracle, state, i)
