"""Devices without float64, such as Apple's: the model runs there, and the arithmetic of the attack on the host."""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core.guard import Model
from advkit.core.outputs import answer_of
from advkit.core.result import Result

WITHOUT_FLOAT64 = ("mps",)


class AsFromHost(nn.Module):
    """A model whose images and answers lie on the host, while its passes are made on `device`."""

    def __init__(self, model: Model, device: torch.device) -> None:
        super().__init__()
        self.model, self.device = model, device

    def forward(self, x: Tensor) -> Tensor:
        """The model's answer to x (N, ...), both on the host; a gradient goes the way back."""
        return answer_of(self.model(x.contiguous().to(self.device))).cpu()


def lacks_float64(x: Any) -> bool:
    """Whether these images lie on a device that cannot compute in float64."""
    return isinstance(x, Tensor) and x.device.type in WITHOUT_FLOAT64


def to_host(value: Any) -> Any:
    """A tensor's copy on the host; whatever is no tensor stays."""
    return value.cpu() if isinstance(value, Tensor) else value


def back(result: Result, device: torch.device) -> Result:
    """The result on the device of the images; what is float64 becomes float32, which is all there is."""
    found = {field.name: getattr(result, field.name) for field in fields(result)}
    found = {name: tensor for name, tensor in found.items() if tensor is not None}
    return replace(result, **{name: _to(tensor, device) for name, tensor in found.items()})


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    small = tensor.dtype == torch.float64 and device.type in WITHOUT_FLOAT64
    return tensor.to(device, torch.float32 if small else tensor.dtype)
