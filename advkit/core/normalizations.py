"""Right gradients of batch and instance normalization on a CPU, where torch's own depend on how tensors lie.

Torch reads what comes back in the wrong order where a batch of one image lies in one layout and its gradient in the
other one: with one image, strides alone do not tell which it is. So it is behind `x.flatten(2).transpose(1, 2)`, with
which tokens are made of the pixels. To torch an instance normalization is a batch of one image, whatever the batch.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from advkit.core.loans import Borrowed, Loan, lends

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def normalizations(modules: Sequence[nn.Module]) -> list[Loan]:
    """What normalizations borrow while gradients are taken: a forward whose gradient does not depend on the layout.

    Their answers are their own. A network that calls `F.batch_norm` or `F.instance_norm` itself, and one that is
    compiled or a script, has torch's gradient. So has a module whose forward is not its class's.

    Args:
        modules: all modules of a model.
    """
    found = [m for m in modules if isinstance(m, _NormBase) and "forward" not in m.__dict__]
    return [Loan(m.__dict__, "forward", _Forward(m)) for m in found] if found and lends(modules) else []


class _Forward(Borrowed):
    """The module's own forward; what comes back through its answer is laid out as its input is."""

    def __init__(self, module: nn.Module) -> None:
        self._own, self._alone = module.forward, isinstance(module, _InstanceNorm)

    def __call__(self, x: Tensor) -> Any:
        answer = self._own(x)
        if (
            isinstance(answer, Tensor)
            and answer.requires_grad
            and answer.device.type == "cpu"
            and (self._alone or len(x) == 1)
        ):
            laid_out = partial(Tensor.contiguous, memory_format=self._layout(x))
            answer.register_hook(laid_out)  # type: ignore[no-untyped-call]
        return answer

    def _layout(self, x: Tensor) -> torch.memory_format:
        """The layout in which torch reads x; an instance normalization lays x out first."""
        last = _CHANNELS_LAST.get(x.ndim)
        if last is None or self._alone or not x.is_contiguous(memory_format=last):
            return torch.contiguous_format
        return last
