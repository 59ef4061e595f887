"""The order in which a batch lies in memory: values do not depend on it, on a CPU the time of convolutions does."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from advkit.core.guard import Model, guard, modules_of

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_accepted: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], bool]] = WeakKeyDictionary()  # by the shape of an image


class Passes:
    """A model that is called on copies, for some models write on their input, in the layout that is faster.

    That is channels-last where the model convolves on a CPU. Measured with torch 2.15 on one thread, a gradient and two
    forward passes: LeNet-5 takes .5 to .6 of the time, VGG and AlexNet .77 to .85, the spatial transformer .9; no
    network became slower. A model that depends on the layout, as by `x.view(len(x), -1)` behind a convolution, refuses
    channels-last at its first pass, and gets its images as they lie from then on.
    """

    def __init__(self, model: Model, x: Tensor) -> None:
        self._model, self._shape = model, tuple(x.shape[1:])
        convolves = x.ndim == 4 and x.device.type == "cpu"
        convolves = convolves and any(isinstance(m, _CONVOLUTIONS) for m in modules_of(model))
        self._writes: bool | None = None  # on its input; not known yet
        self._known = _accepted.setdefault(model, {}) if convolves and isinstance(model, nn.Module) else None

    def __call__(self, x: Tensor) -> Any:
        """The model's answer to x."""
        if self._known is None:
            return self._plainly(x)
        if self._known.get(self._shape, True):
            try:
                answer = self._model(x.clone(memory_format=torch.channels_last))
                self._known[self._shape] = True
                return answer
            except RuntimeError:
                if self._shape in self._known:
                    raise
        self._known[self._shape] = False
        return self._plainly(x)

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
        """Whether the model gets channels-last images; found by a pass that leaves no trace, where a second try would.

        A pass is made only if the layout is not known yet.
        """
        if self._known is None:
            return False
        if self._shape not in self._known:
            self._known[self._shape] = self._accepts(x[:1].clone(memory_format=torch.channels_last))
        return self._known[self._shape]

    def _accepts(self, x: Tensor) -> bool:
        model = self._model
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module  # not through the collectives of the wrapper
        try:
            with guard(model), torch.no_grad():
                model(x)
        except RuntimeError:
            return False
        return True
