"""What attacks have in common that draw the image anew from x and some numbers, such as a flow or a colour table."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import BudgetAttack
from advkit.core.door import check_count
from advkit.core.oracle import Oracle
from advkit.core.threat import Region


class State(NamedTuple):
    """The image, and what it is drawn with."""

    x_adv: Tensor  # (M, ...)
    theta: Tensor  # (M, ...): the numbers, 0 for x itself
    memory: Any  # what the attack keeps from step to step
    done: Tensor  # (M,) bool: the last image has been looked at


@dataclass(frozen=True, kw_only=True)
class RenderedAttack(BudgetAttack):
    """A budget attack on the numbers theta with which `render` draws an image; `Result.size` is their `size`.

    The threat is no lp ball: eps is infinite by default. With an eps, images are brought into the ball as well.

    Args:
        steps: number of steps.
    """

    norms = ("linf",)
    measures: ClassVar[str]

    eps: float | None = torch.inf
    loss: str = "margin"
    steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)

    @property
    def total_steps(self) -> int:
        """`steps`, and a look at the last image, whose size is known then."""
        return self.steps + 1

    @abstractmethod
    def at_rest(self, oracle: Oracle) -> tuple[Tensor, Any]:
        """Return the theta (M, ...) that draws x, all 0, and the first memory."""

    @abstractmethod
    def render(self, region: Region, theta: Tensor) -> Tensor:
        """(M, ...): the image that theta draws from `region.x`, of its type, differentiable by theta."""

    @abstractmethod
    def size(self, region: Region, theta: Tensor) -> Tensor:
        """(M,): the attack's own measure of the change."""

    def slope(self, region: Region, theta: Tensor, gradient: Tensor) -> Tensor:
        """(M, ...): the gradient of the loss by theta, from that by the image."""
        with torch.enable_grad():
            leaf = theta.detach().requires_grad_()
            (found,) = torch.autograd.grad((self.render(region, leaf) * gradient).sum(), leaf)
        return found

    @abstractmethod
    def move(self, oracle: Oracle, state: State, slope: Tensor) -> tuple[Tensor, Any]:
        """Return the next theta and memory; slope (M, ...) is the gradient of the loss by theta."""

    def init(self, oracle: Oracle) -> State:
        """Return the image itself."""
        theta, memory = self.at_rest(oracle)
        return State(oracle.x, theta, memory, torch.zeros_like(oracle.fooled))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Look at the image and its size, and step along the gradient by theta."""
        if i == self.steps:
            oracle.logits(state.x_adv)
            oracle.measured(self.size(oracle.region, state.theta))
            return state._replace(done=torch.ones_like(state.done))
        gradient = oracle.gradient(state.x_adv, self.loss)
        oracle.measured(self.size(oracle.region, state.theta))
        slope = self.slope(oracle.region, state.theta, gradient)
        theta, memory = self.move(oracle, state, slope.nan_to_num(0.0))
        x_adv = oracle.region.clamp(self.render(oracle.region, theta).to(oracle.x.dtype))
        return State(x_adv, theta, memory, state.done)
