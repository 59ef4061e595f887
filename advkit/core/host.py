"""Support for devices without float64, such as Apple's: the model runs there, the attack's arithmetic on the CPU."""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core.float64 import WITHOUT_FLOAT64
from advkit.core.guard import Model
from advkit.core.outputs import answer_of
from advkit.core.result import Result


class AsFromHost(nn.Module):
    """A model that takes images and returns answers on the CPU, while it runs on `device`."""

    def __init__(self, model: Model, device: torch.device) -> None:
        super().__init__()
        self.model, self.device = model, device

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's answer to x (N, ...), both on the CPU; gradients pass through the copies."""
        return answer_of(self.model(x.contiguous().to(self.device))).cpu()


def to_host(value: Any) -> Any:
    """Return a tensor's copy on the CPU; anything else is returned unchanged."""
    return value.cpu() if isinstance(value, Tensor) else value


def back(result: Result, device: torch.device) -> Result:
    """Move the result to the device of the images; float64 becomes float32, the best type that the device has."""
    found = {field.name: getattr(result, field.name) for field in fields(result)}
    found = {name: tensor for name, tensor in found.items() if tensor is not None}
    return replace(result, **{name: _to(tensor, device) for name, tensor in found.items()})


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    small = tensor.dtype == torch.float64 and device.type in WITHOUT_FLOAT64
    return tensor.to(device, torch.float32 if small else tensor.dtype)
