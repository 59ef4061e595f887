"""Transfer: examples made for one network, shown to another. Szegedy et al. 2013, section 4.2 (arXiv 1312.6199)."""

from dataclasses import dataclass, field, replace

from torch import Tensor

from advkit.attacks.around.wrapper import Wrapper
from advkit.attacks.parts.point import State
from advkit.attacks.parts.stepless import Stepless
from advkit.core import model_checks
from advkit.core.attack import Attack
from advkit.core.driver import Problem
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle
from advkit.core.threat import Region, Threat


@dataclass(frozen=True)
class Known(Threat):
    """A threat model whose region has been computed, and checked, already."""

    region: Region | None = None

    def part(self, rows: Tensor, eps: float | Tensor) -> "Known":
        """Return the regions of some samples; what lies beyond them is not known, so they are not widened."""
        assert self.region is not None
        region = self.region.take(rows)
        return replace(self, eps=region.eps.flatten(), region=region)

    def around(self, x: Tensor) -> Region:
        """Return the region."""
        assert self.region is not None
        return self.region


@dataclass(frozen=True, kw_only=True)
class Transfer(Stepless, Wrapper):
    """The attack inside, made on the surrogate to the end (`stop="never"`), judged by the model.

    The surrogate gets the same images, labels, goal, radii and bounds; "runner_up" is the model's, on the clean image.

    Cost per sample on the model: 2 queries, the second being the verdict, and no gradient; the surrogate's passes do
    not count.

    Args:
        surrogate: a model with the same classes.
    """

    drives = False
    passes = 1

    surrogate: Model = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        model_checks.check_model(self.surrogate)
        object.__setattr__(self, "knowledge", "nothing")

    @property
    def spec(self) -> str:
        """The Python expression, since tensors have no place in a spec."""
        return f"transfer({self.attack.spec}, surrogate)"

    def _arrange(self, model: Model, problem: Problem) -> tuple[Model, Problem]:
        return model, problem  # what the attack inside puts around a model belongs around the surrogate

    def init(self, oracle: Oracle) -> State:
        """Return the surrogate's adversarial images."""
        region = oracle.region
        threat = Known(region.norm.name, region.eps.flatten(), (0.0, 0.0), region=region)
        problem = Problem(oracle.x, oracle.goal.y, oracle.goal, threat, oracle.draws, "never")
        found = self.attack._run(self.surrogate, problem)
        if found.logits.shape[1] != oracle.clean.shape[1]:
            raise InputError(
                f"expected a surrogate of the model's {oracle.clean.shape[1]} classes, "
                f"got one of {found.logits.shape[1]}"
            )
        return State(found.x_adv)


@outer
def transfer(attack: Attack, surrogate: Model) -> Attack:
    """Make the attack on another network, see `Transfer`: `transfer(PGD(eps=0.1), surrogate)(model, x, y)`.

    A minimal attack stops where the surrogate just errs, which seldom transfers: a budget attack suits better.

    Args:
        attack: any attack.
        surrogate: a model with the same classes, on which the attack is made.

    Raises:
        InputError: not an attack, or not a model; in the call, a surrogate of other classes.
    """
    return Transfer(attack=attack, surrogate=surrogate)
