"""A small linear network whose answers can be spoilt: made random, dependent on the batch, or not finite."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Twelve inputs; `spoil` (logits, x) -> logits changes what it answers."""

    def __init__(self, spoil: Callable[[Tensor, Tensor], Tensor] = lambda z, x: z, outputs: int = 6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, outputs, generator=torch.Generator().manual_seed(0)))
        self.spoil = spoil

    def forward(self, x: Tensor) -> Tensor:
        return self.spoil(x.flatten(1) @ self.weight, x)
