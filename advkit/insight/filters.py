"""Kernels of a convolution, and which of them dominate or are dead. Zeiler, Fergus 2013, sec. 4.1, arXiv 1311.2901."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.insight._named_layers import convolutions, find_layer, is_convolution
from advkit.models.lenet import TableConv2d

DEAD, DOMINATING = 0.1, 3.0
"""Multiples of the median root mean square below and above which a filter is called dead or dominating."""


@dataclass(frozen=True)
class Filters:
    """The filters of one layer.

    Attributes:
        layer: name of the layer.
        kernels: kernels of the M filters (M, C, h, w), on the CPU.
        rms: root mean square of the weights of each filter (M,).
        dead: (M,) bool, True where the root mean square lies below `DEAD` times the median.
        dominating: (M,) bool, True where the root mean square lies above `DOMINATING` times the median.
    """

    layer: str
    kernels: Tensor
    rms: Tensor
    dead: Tensor
    dominating: Tensor

    def scaled(self, *, together: bool = True) -> Tensor:
        """Scale the kernels to [0, 1], with weight 0 at .5.

        Args:
            together: True scales all filters by one factor, so that weak ones look weak; False scales each
                filter to the whole range.
        """
        peak = self.kernels.abs().amax() if together else self.kernels.abs().amax((1, 2, 3), keepdim=True)
        return self.kernels / (2 * peak.clamp_min(torch.finfo(self.kernels.dtype).tiny)) + 0.5


def filters(model: nn.Module, layer: str | None = None) -> Filters:
    """Return the kernels of a convolution.

    Args:
        model: any network.
        layer: name of a convolution; by default the first one.

    Raises:
        InputError: no such layer, or it is no convolution.
    """
    names = convolutions(model)
    if layer is None and not names:
        raise InputError("expected a network with a convolution, got one without: filters are a convolution's kernels")
    layer = names[0] if layer is None else layer
    module = find_layer(model, layer)
    if not is_convolution(module):
        raise InputError(f"expected a convolution, got {layer!r}, a {type(module).__name__}: give {', '.join(names)}")
    kernels = _kernels(module)
    rms = kernels.square().mean((1, 2, 3)).sqrt()
    middle = rms.median()
    return Filters(layer, kernels, rms, rms < DEAD * middle, rms > DOMINATING * middle)


def _kernels(module: nn.Module) -> Tensor:
    """Return the kernels (M, C, h, w); connections that a table leaves out are 0."""
    if isinstance(module, TableConv2d):
        weight = module.weight.new_zeros(module.shape).index_put((module.rows, module.columns), module.weight)
    else:
        weight = module._parameters["weight"]  # type: ignore[assignment]
    if weight.ndim != 4:
        raise InputError(f"expected kernels (M, C, h, w), got weights {tuple(weight.shape)}")
    return weight.detach().float().cpu()
