"""Fooling images: Nguyen, Yosinski, Clune 2014, section 2 (arXiv 1412.1897); Goodfellow et al. 2014, appendix A.

Noise in which a network sees a class with high confidence ("rubbish class examples", arXiv 1412.6572).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.door import check_between, check_count, check_positive
from advkit.core.losses import rival
from advkit.core.oracle import Oracle


class State(NamedTuple):
    """The image as it is by now."""

    x_adv: Tensor  # (M, ...)
    done: Tensor  # (M,) bool: the confidence is reached


@register_attack("fooling")
@dataclass(frozen=True, kw_only=True)
class Fooling(BudgetAttack):
    """Steps from Gaussian noise along the sign of the gradient until the network is confident of the class to reach.

    The given images only set the range, for eps is infinite by default; with an eps the noise lies in the ball around
    them. The class is the target, or else the likeliest one other than y. With `stop="never"` a row goes on until it
    reaches `confidence`, otherwise only until the class leads. `fooling_images` needs no images to begin with.

    Cost per sample: at most `steps` gradients and `steps` + 2 queries.

    Args:
        confidence: softmax probability of the class at which an image is finished.
        steps: maximum number of steps.
        step_size: the length of a step at each pixel, as a share of its range.
        sigma: the standard deviation of the noise, about the middle of the range, as a share of the range.
    """

    norms = ("linf",)
    needs_classes = True
    paper = "Nguyen et al. 2014, arXiv 1412.1897"
    starts_at_x = False
    begins_at_image = False
    deterministic = False

    eps: float | None = torch.inf
    loss: str = "rival"
    confidence: float = 0.99
    steps: int = 100
    step_size: float = 0.02
    sigma: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_positive("step_size", self.step_size)
        check_positive("sigma", self.sigma)
        check_between("confidence", self.confidence, 0, 1, ends=False)

    @property
    def total_steps(self) -> int:
        """`steps`."""
        return self.steps

    def init(self, oracle: Oracle) -> State:
        """Noise."""
        low, high = oracle.region.low, oracle.region.high
        noise = 0.5 + self.sigma * oracle.draws.normal(0, tuple(oracle.x.shape[1:]))
        x_adv = oracle.region.clamp((low + noise.clamp(0, 1) * (high.double() - low)).to(low.dtype))
        return State(x_adv, torch.zeros_like(oracle.fooled))

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Move each pixel, unless the confidence was reached."""
        gradient = oracle.gradient(state.x_adv, self.loss)
        sure = oracle.fooled & (rival(oracle.goal, oracle.answer).exp() >= self.confidence)
        length = self.step_size * (oracle.region.high - oracle.region.low)
        moved = oracle.region.clamp(state.x_adv + length * gradient.sign())
        return State(moved, sure)
