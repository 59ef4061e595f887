"""A device without float64 that is played on the CPU: what Apple's "mps" refuses is refused here too."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

PLAYED = torch.device("mps")
ACROSS = {"copy_", "__getitem__", "__setitem__", "index_put_", "to", "cpu", "set_", "data", "grad"}
"""Functions that take tensors of two devices."""


class There(Tensor):
    """A tensor on the played device."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # all is done by the mode
    device = PLAYED  # type: ignore[assignment]
    is_cpu = False  # type: ignore[assignment]


def there(value: Any) -> Any:
    """The tensor, or the parameter, on the played device."""
    if not isinstance(value, Tensor):
        return value
    if value.dtype == torch.float64:
        raise TypeError("the played device has no float64")
    return value if isinstance(value, There) else value.as_subclass(There)


def here(value: Any) -> Any:
    """The tensor on the CPU."""
    return value.as_subclass(Tensor) if isinstance(value, There) else value


class NoFloat64(TorchFunctionMode):
    """Inside, what is made of tensors on the played device lies there, and is not float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        found = any(isinstance(leaf, There) for leaf in leaves)
        place = _place(name, args, kwargs)
        if found and name not in ACROSS and any(not isinstance(t, There) and t.ndim for t in leaves):
            raise RuntimeError(f"{name}: expected all tensors on the same device")
        if found and name == "numpy":
            raise TypeError("can't convert a tensor of the played device to numpy")
        args, kwargs = tree_map(lambda v: torch.device("cpu") if v == PLAYED else v, (args, kwargs))
        if name in ("to", "cpu"):
            return self._moved(func, name, args, kwargs, place)
        answer = func(*args, **kwargs)
        onto = found if place is None else place.type == PLAYED.type
        return tree_map(there, answer) if onto and name not in ("__get__", "__set__", "data_ptr") else answer

    def _moved(self, func: Any, name: str, args: Any, kwargs: Any, place: torch.device | None) -> Any:
        stays = isinstance(args[0], There) if place is None else place.type == PLAYED.type
        answer = here(func(*args, **kwargs))
        return there(answer) if stays and name == "to" else answer


def _place(name: str, args: Any, kwargs: Any) -> torch.device | None:
    """The device that the call names."""
    values = [*(args[1:] if name == "to" else ()), kwargs.get("device")]
    for value in values:
        if isinstance(value, Tensor):
            return torch.device(value.device)
        if isinstance(value, torch.device):
            return value
        if isinstance(value, str):
            return torch.device(value)
    return torch.device("cpu") if name == "cpu" else None


def moved(model: nn.Module) -> nn.Module:
    """The module with parameters and buffers on the played device."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = there(parameter.detach()).requires_grad_(parameter.requires_grad)
        for name, buffer in module._buffers.items():
            module._buffers[name] = there(buffer)
    return model


@contextmanager
def playing() -> Iterator[None]:
    """Inside, the device is played."""
    with NoFloat64():
        yield
