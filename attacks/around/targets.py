"""Several targets: an attack that takes a target, run towards each of the likeliest wrong classes.

As in the multi-targeted attack of Gowal et al. 2019 (arXiv 1910.09338) and in AutoAttack (arXiv 2003.01690, section 4).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.attacks.around.runs import Runs
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.goals import is_aimed, targeted, wide
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle


@dataclass(frozen=True, kw_only=True)
class Targets(Runs):
    """An untargeted attack: the attack inside, run towards each of the `number` likeliest classes other than y.

    The classes are ranked on the clean image; where the model has fewer, each is aimed at once. Any class other than y
    is a success, whichever was aimed at.

    Args:
        attack: an attack that takes a target and has none set.
        number: the number of target classes.
    """

    number: int

    def __post_init__(self) -> None:
        if isinstance(self.attack, Attack) and not self.attack.targetable:
            raise InputError(f"{self.attack.spec} has no targeted form: leave targets out")
        super().__post_init__()
        check_count("targets", self.number)
        object.__setattr__(self, "targetable", False)
        object.__setattr__(self, "needs_classes", True)

    def check_aim(self, target: str | int | Tensor) -> None:
        """Any class other than y is a success, so there is none to reach.

        Raises:
            InputError: there is a target.
        """
        if is_aimed(target):
            what = "targets of classes" if isinstance(target, Tensor) else f"target={target!r}"
            raise InputError(
                f"targets={self.number} aims at the likeliest wrong classes in turn and takes an attack without a "
                f"target of its own, got {what}: leave one of the two out"
            )

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with targets=."""
        return self._with("targets", self.number)

    @property
    def _runs(self) -> int:
        return self.number

    def _left(self, oracle: Oracle) -> int:
        return min(self.number, oracle.clean.shape[1] - 1)

    def _guide(self, oracle: Oracle, run: int) -> dict[str, Any]:
        y = oracle.goal.y
        others = wide(oracle.clean).scatter(1, y[:, None], -torch.inf)
        ranked = others.argsort(dim=1, descending=True, stable=True)
        return {"goal": targeted(ranked[:, run], y), "draws": oracle.draws.branch(run, family=1)}


@ATTACKS.wrapper("targets", rank=9)
@outer
def targets(attack: Attack, number: int | str) -> Attack:
    """Aim an attack at the `number` likeliest wrong classes in turn, or at all of them.

    The classes are ranked by the logits on the clean image. Returns a `Targets`, which is an attack.

    Args:
        attack: an attack that takes a target and has none set.
        number: number of target classes, or "all" for every class but the label.

    Raises:
        InputError: not an attack, one that takes no target or has one, or a number below 1.
    """
    if isinstance(number, str) and number == "all" and isinstance(attack, Attack) and attack.targetable:
        return attack.having(target="all")
    return Targets(attack=attack, number=number)  # type: ignore[arg-type]
