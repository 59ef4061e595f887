"""Weights from which training on interval bounds starts: Shi et al. 2021, section 3.1 (arXiv 2103.17268)."""

import math

import torch
from torch import nn

from advkit.core.door import generator
from advkit.core.errors import check_given

AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def interval_init(model: nn.Module, *, seed: int = 0) -> None:
    """Draw every kernel and matrix anew so that an interval's width neither grows nor shrinks on its way, and no bias.

    A layer with n inputs a unit multiplies the mean width by `n E|w|` and a rectifier halves it: with a standard
    deviation of `sqrt(2 pi) / n`, n E|w| is 2. The usual deviation, of the order of `1 / sqrt(n)`, lets the width grow
    by a factor of sqrt(n) a layer. Layers of other kinds keep their weights.

    Args:
        model: the network; it is changed in place.
        seed: seed of the draws.

    Raises:
        InputError: no network, or a seed that is no integer.
    """
    check_given("model", model, nn.Module, "a network (an nn.Module)")
    draws = generator(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, AFFINE):
                values = torch.randn(module.weight.shape, generator=draws) * math.sqrt(2 * math.pi)
                module.weight.copy_(values / module.weight[0].numel())
                if module.bias is not None:
                    module.bias.zero_()
