"""The exponential average of the weights over the steps of a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """`average <- decay * average + (1 - decay) * weights` after every step; buffers are averaged alike.

    After n steps the decay is at most (1 + n) / (10 + n), so that the random start has little weight.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.state = _copy(model)

    @torch.no_grad()
    def add(self, model: nn.Module) -> None:
        """Add the weights after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    @contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """Context manager: inside, the model's weights are the average."""
        own = _copy(model)
        model.load_state_dict(self.state)
        try:
            yield
        finally:
            model.load_state_dict(own)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
