"""Other backward passes: rectifiers that rectify the signal, and normalisation with the recorded scales.

A `TorchFunctionMode` replaces the rectifiers wherever the network calls them, as a module, a function or a method.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from advkit.models.layers import LRN

RECTIFIERS: tuple[Callable[..., Any], ...] = (
    *(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    *(F.relu6, F.hardtanh, F.hardtanh_),
)
METHODS = ("deconv", "guided", "gradient")


class _Rectifier(torch.autograd.Function):
    """Forward: the rectifier itself. Backward: the signal is rectified, and with `guided` gated by the input too."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, a: Tensor, guided: bool) -> Tensor:
        ctx.save_for_backward(z > 0) if guided else ctx.save_for_backward()
        return a.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None]:
        signal = signals[0].clamp_min(0)
        return (signal * ctx.saved_tensors[0] if ctx.saved_tensors else signal), None, None


class _Rectifying(TorchFunctionMode):
    """A context in which every rectifier passes signals back as deconvolution or as guided backpropagation does."""

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided = guided

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in RECTIFIERS or not args or not args[0].requires_grad:
            return func(*args, **(kwargs or {}))
        z = args[0]
        with torch.no_grad():  # on a copy, for some write on their input
            a = func(z.detach().clone(), *args[1:], **(kwargs or {}))
        return _Rectifier.apply(z, a, self.guided)


@contextmanager
def backward_by(method: str, model: nn.Module) -> Iterator[None]:
    """Make the model's backward passes use a method; except for "gradient", the scales of LRN are constants."""
    hooks = []
    if method != "gradient":
        layers = [m for m in model.modules() if isinstance(m, LRN | nn.LocalResponseNorm)]
        hooks = [layer.register_forward_hook(_scale) for layer in layers]
    try:
        if method == "gradient":
            yield
        else:
            with _Rectifying(method == "guided"):
                yield
    finally:
        for hook in hooks:
            hook.remove()


def _scale(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Return the output as a linear function of the input, with the recorded scales as factors."""
    a = inputs[0]
    small = torch.finfo(a.dtype).tiny ** 0.25  # its square vanishes beside k: the scale does not change
    safe = torch.where(a.detach().abs() < small, small, a.detach())
    scaled: Tensor = a * (layer.forward(safe) / safe).detach()
    return scaled
