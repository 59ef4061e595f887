"""The memory layout of a batch: it does not change any value, but on a CPU it changes the time of convolutions."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from advkit.core.classify import looking
from advkit.core.guard import Model, modules_of

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_PARALLEL = (nn.parallel.DistributedDataParallel, nn.DataParallel)
_WORTH_A_COPY = 2**14
"""Weights of fewer numbers are laid out anew at every pass in less time than it takes to hand over a copy."""
_accepted: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], bool]] = WeakKeyDictionary()  # by the shape of an image


class Passes:
    """A model that is called on copies of the images (some models write on their input) in the faster layout.

    The faster layout is channels-last if the model convolves on a CPU. A gradient and two forward passes, with torch
    2.15 on one thread: LeNet-5 takes .5 to .6 of the time, VGG and AlexNet .77 to .85, the spatial transformer .9; no
    network became slower. A model that depends on the layout, as by `x.view(len(x), -1)` behind a convolution, fails
    with channels-last at its first pass; from then on it gets the images in their own layout.

    Large kernels are copied once into the layout of the images; otherwise the convolution would do so at every pass.
    The module's own parameters do not change. The rule depends on sizes and not on timing, so that two runs round
    alike; `benchmarks/layout.py` times it.
    """

    def __init__(self, model: Model, x: Tensor) -> None:
        self._model, self._shape = model, tuple(x.shape[1:])
        convolves = x.ndim == 4 and x.device.type == "cpu"
        convolves = convolves and any(isinstance(m, _CONVOLUTIONS) for m in modules_of(model))
        self._writes: bool | None = None  # on its input; not known yet
        self._known = _accepted.setdefault(model, {}) if convolves and isinstance(model, nn.Module) else None
        self._weights = _large_kernels(model) if self._known is not None and isinstance(model, nn.Module) else {}

    def __call__(self, x: Tensor) -> Any:
        """The model's answer to x."""
        if self._known is None:
            return self._plainly(x)
        if self._known.get(self._shape, True):
            try:
                answer = self._channels_last(x.clone(memory_format=torch.channels_last))
                self._known[self._shape] = True
                return answer
            except RuntimeError:
                if self._shape in self._known:
                    raise
        self._known[self._shape] = False
        return self._plainly(x)

    def _channels_last(self, x: Tensor) -> Any:
        if self._weights and isinstance(self._model, nn.Module):
            return functional_call(self._model, self._weights, (x,))
        return self._model(x)

    def _plainly(self, x: Tensor) -> Any:
        """On the images themselves, once a first pass on a copy has left that as it was."""
        if self._writes is False:
            return self._model(x)
        copy = x.clone()
        version = copy._version
        answer = self._model(copy)
        if self._writes is None:  # a write through `.data` raises no version; on a CPU it costs little to look
            self._writes = copy._version != version or (copy.device.type == "cpu" and not torch.equal(copy, x))
        return answer

    def probe(self, x: Tensor) -> bool:
        """Find out whether the model takes channels-last images, by a pass that does not change it.

        A pass is made only if the layout is not known yet.
        """
        if self._known is None:
            return False
        if self._shape not in self._known:
            self._known[self._shape] = self._accepts(x[:1].clone(memory_format=torch.channels_last))
        return self._known[self._shape]

    def _accepts(self, x: Tensor) -> bool:
        model = self._model
        if isinstance(model, _PARALLEL):
            model = model.module  # not through the collectives of the wrapper
        try:
            with looking(model):
                model(x)
        except RuntimeError:
            return False
        return True


def _large_kernels(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the large kernels in channels-last, by the name of the parameter; none of a model that is compiled.

    A kernel of one pixel, or of one channel a group, lies alike in both layouts. Those that are no plain parameter, as
    behind `weight_norm`, are left.
    """
    if any(
        isinstance(m, torch.jit.ScriptModule) or hasattr(m, "_orig_mod") or isinstance(m, _PARALLEL)
        for m in model.modules()
    ):
        return {}
    found: dict[str, Tensor] = {}
    own: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        kernel = module._parameters.get("weight") if isinstance(module, nn.Conv2d) and module.groups == 1 else None
        if type(kernel) is nn.Parameter and kernel not in own and _worth_a_copy(kernel):
            own.add(kernel)  # two modules may share one, which is handed over once
            name = f"{name}.weight" if name else "weight"
            found[name] = kernel.detach().contiguous(memory_format=torch.channels_last)
    return found


def _worth_a_copy(kernel: Tensor) -> bool:
    large = kernel.numel() >= _WORTH_A_COPY and kernel[0, 0].numel() > 1
    return large and kernel.is_contiguous() and kernel.device.type == "cpu"
