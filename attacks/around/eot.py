"""EOT, expectation over transformation: Athalye, Engstrom, Ilyas, Kwok 2017, section 2.1 (arXiv 1707.07397).

For random networks (random layers, random preprocessing), as in Athalye, Carlini, Wagner 2018,
section 4.2 (arXiv 1802.00420).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.attacks.around.average import Averaged
from advkit.attacks.around.wrapper import Wrapper
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_count
from advkit.core.driver import Problem
from advkit.core.guard import Model
from advkit.core.option_names import outer


class _Repeated(Averaged):
    """A model asked several times; its random numbers begin with the seed at the first image that it sees."""

    def __init__(self, model: Model, samples: int, seed: int) -> None:
        super().__init__([model] * samples)
        self._seed: int | None = seed % 2**63

    def forward(self, x: Tensor) -> Tensor:
        """x (N, ...) -> (N, K)."""
        if self._seed is not None:
            torch.manual_seed(self._seed)  # inside the guard, which puts torch's state back
            self._seed = None
        return super().forward(x)


@dataclass(frozen=True, kw_only=True)
class EOT(Wrapper):
    """The attack inside, on the mean of the logits of `samples` passes: `E[grad f(x)]` in place of one draw's.

    Every answer of the model is such a mean, including those that choose the best point and those of the verdict: one
    lucky draw proves nothing. On a deterministic model it is the attack inside.

    The model's own random numbers come from torch's generator, which is seeded with the attack's seed for the length of
    the run (and then restored). Cost: `samples` times that of the attack inside.

    Args:
        samples: number of passes that are averaged into one answer.
    """

    samples: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("samples", self.samples)

    @property
    def spec(self) -> str:
        """The spec of the attack inside, with eot=."""
        return self._with("eot", self.samples)

    @property
    def passes(self) -> int:
        """`samples` to a query."""
        return self.samples * self.attack.passes

    def _arrange(self, model: Model, problem: Problem) -> tuple[Model, Problem]:
        return self.attack._arrange(_Repeated(model, self.samples, problem.draws.seed), problem)


@ATTACKS.wrapper("eot", rank=10)
@outer
def eot(attack: Attack, samples: int) -> Attack:
    """Attack the mean of `samples` answers of a stochastic model, see `EOT`: `eot(PGD(eps=0.1), 20)`.

    Args:
        attack: any attack.
        samples: number of passes that are averaged into one answer, at least 1.

    Raises:
        InputError: the object is no attack, or the number is below 1.
    """
    return EOT(attack=attack, samples=samples)
