"""NES: Ilyas, Engstrom, Athalye, Lin 2018, section 2.1 and algorithm 1 (arXiv 1804.08598)."""

from dataclasses import dataclass

from torch import Tensor

from advkit.attacks.parts.estimate import EstimateAttack, State
from advkit.core.attack import register_attack
from advkit.core.door import check_positive
from advkit.core.oracle import Oracle


@register_attack("nes")
@dataclass(frozen=True, kw_only=True)
class NES(EstimateAttack):
    """Steps of the norm along `g = sum_i f(x + sigma u_i) u_i / (n sigma)`, u normal, in pairs u and -u.

    Cost per sample: at most `steps` * (`samples` + 1) + 2 queries, no gradient.

    Args:
        norm: the norm of the ball, and of the steps.
        steps: number of steps.
        samples: number n of queries in an estimate of the gradient.
        sigma: standard deviation of the points around the iterate, with pixels in units of their range.
        step_size: length of a step in units of the pixels; default: 2.5 * eps / steps.
    """

    norms = ("linf", "l2")
    paper = "Ilyas et al. 2018, arXiv 1804.08598"

    sigma: float = 1e-3
    step_size: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("step_size", self.step_size, optional=True)

    def direction(self, oracle: Oracle, number: int) -> Tensor:
        """Normal."""
        return oracle.draws.normal(number, tuple(oracle.x.shape[1:]))

    def first_memory(self, oracle: Oracle) -> tuple[()]:
        """Keep nothing."""
        return ()

    def move(self, oracle: Oracle, state: State, g: Tensor) -> tuple[Tensor, tuple[()]]:
        """Move along the norm's steepest direction."""
        length = 2.5 * oracle.region.eps / self.steps if self.step_size is None else self.step_size
        return oracle.region.step(state.centre, g, length).to(oracle.x.dtype), ()
