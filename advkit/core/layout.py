"""The memory layout of a batch: it does not change any value, but on a CPU it changes the time of convolutions."""

from contextlib import suppress
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from advkit.core.classify import looking
from advkit.core.guard import Model, modules_of
from advkit.core.loans import DISTRIBUTED, Loan, lends, lent
from advkit.core.stems import stems

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_LIGHT = 2**15
"""Kernels of fewer numbers are light, see `Passes`."""
_HEAVY = 2**18
"""Kernels of at least as many numbers, that see more than one pixel and all channels, are heavy."""
_FEW = {"light": 2**13, "heavy": 2**15}
"""The numbers of pixels of a batch that still are few, for networks of either kind."""
_accepted: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], bool]] = WeakKeyDictionary()  # by the shape of an image


class Passes:
    """A model that is called on copies of the images (some models write on their input) in the faster layout.

    The faster layout is channels-last if the model convolves on a CPU, for the images and for the kernels. A gradient,
    with torch 2.15 on one thread: LeNet-5 and VGG take .7 to .8 of the time, EfficientNet and SqueezeNet .45 to .75,
    ResNet-50 on 64 pixels .5 to .9. A model that depends on the layout, as by `x.view(len(x), -1)` behind a
    convolution, fails with channels-last at its first pass; from then on it gets the images in their own layout.

    Two kinds of network get the images as they lie, by the number of pixels in the batch of the call. Some only
    convolve with strides and light kernels: their passes are no faster in channels-last, the forward ones up to 1.4
    times slower, except for the gradient of few pixels. Others hold most weights in heavy kernels, as ResNet-18 does:
    several small images take 1.05 to 1.2 times as long in channels-last.

    The kernels are copied once, and each pass borrows the copies: laid out otherwise, a convolution would lay its
    kernel out anew at every pass, or give up the layout of the images. The module's own parameters do not change. First
    convolutions borrow a faster gradient, see `stems`.

    The rules depend on the modules and the shape of the batch, not on timing, so that two runs round alike.
    `benchmarks/layout.py` times them.
    """

    def __init__(self, model: Model, x: Tensor) -> None:
        self._model, self._shape = model, tuple(x.shape[1:])
        convolves = x.ndim == 4 and x.device.type == "cpu"
        self._modules = modules_of(model)
        kernels = [m for m in self._modules if isinstance(m, _CONVOLUTIONS)] if convolves else []
        pixels = len(x) * prod(self._shape[1:])
        self._light = all(_is_light(m) for m in kernels)
        convolves = bool(kernels) and not (
            (self._light and pixels > _FEW["light"])
            or (len(x) > 1 and pixels <= _FEW["heavy"] and _share_of_heavy(kernels) > 0.5)
        )
        self._writes: bool | None = None  # on its input; not known yet
        self._known = _accepted.setdefault(model, {}) if convolves and isinstance(model, nn.Module) else None
        self._kernels: list[Loan] | None = None  # made at the first pass that needs them
        self._lends = bool(kernels) and lends(self._modules)
        self._stems = stems(kernels) if self._lends else []

    def __call__(self, x: Tensor) -> Any:
        """The model's answer to x."""
        if self._known is None or (self._light and not x.requires_grad):
            return self._plainly(x)
        if self._known.get(self._shape, True):
            with suppress(RuntimeError):  # also of a model that took them once: it may have been changed since
                answer = self._channels_last(x.clone(memory_format=torch.channels_last))
                self._known[self._shape] = True
                return answer
        answer = self._plainly(x)  # may raise the same
        self._known[self._shape] = False
        return answer

    def _channels_last(self, x: Tensor) -> Any:
        if self._kernels is None:
            self._kernels = _laid_out(self._modules) if self._lends else []
        return self._borrowing([*self._kernels, *self._stems], x)

    def _borrowing(self, loans: list[Loan], x: Tensor) -> Any:
        if not loans:
            return self._model(x)
        with lent(loans):
            return self._model(x)

    def _plainly(self, x: Tensor) -> Any:
        """On the images themselves, once a first pass on a copy has left that as it was."""
        loans = self._stems if x.requires_grad else []
        if self._writes is False:
            return self._borrowing(loans, x)
        copy = x.clone()
        version = copy._version
        answer = self._borrowing(loans, copy)
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
        if isinstance(model, DISTRIBUTED):
            model = model.module  # not through the collectives of the wrapper
        try:
            with looking(model):
                model(x)
        except RuntimeError:
            return False
        return True


def _is_light(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether each kernel is of one pixel, or small and moves by more than one pixel."""
    pixels, strided = prod(module.kernel_size), min(module.stride) > 1
    return pixels == 1 or (strided and pixels * module.in_channels * module.out_channels < _LIGHT * module.groups)


def _share_of_heavy(modules: list[nn.Conv2d | nn.ConvTranspose2d]) -> float:
    """The share of the weights of these convolutions that belong to heavy kernels."""
    sizes = [
        (prod(m.kernel_size) * m.in_channels * m.out_channels // m.groups, m.groups == 1 and prod(m.kernel_size) > 1)
        for m in modules
    ]
    return sum(n for n, dense in sizes if dense and n >= _HEAVY) / max(1, sum(n for n, _ in sizes))


def _laid_out(modules: list[nn.Module]) -> list[Loan]:
    """Kernels of convolutions in channels-last; those that are no plain parameter, as behind `weight_norm`, stay."""
    found: list[Loan] = []
    copies: dict[Tensor, Tensor] = {}  # modules may share a kernel
    for module in modules:
        kernel = module._parameters.get("weight") if isinstance(module, _CONVOLUTIONS) else None
        if type(kernel) is nn.Parameter and kernel.ndim == 4 and kernel.device.type == "cpu":
            if kernel not in copies:
                copies[kernel] = _in_channels_last(kernel.detach())
            found.append(Loan(module._parameters, "weight", copies[kernel]))
    return found


def _in_channels_last(kernel: Tensor) -> Tensor:
    """Kernels (O, I, h, w) of one pixel, or of one channel a group, lie alike in both layouts: a view is enough."""
    _, channels, height, width = kernel.shape
    if kernel.is_contiguous() and (channels == 1 or height * width == 1):
        return kernel.as_strided(kernel.shape, (kernel[0].numel(), 1, width * channels, channels))
    return kernel.clone(memory_format=torch.channels_last)
