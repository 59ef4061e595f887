"""The guard keeps an attack from changing the model: on leaving, everything is restored to what it was on entering."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, Literal

import torch
from torch import Tensor, nn

from advkit.core.loans import lent
from advkit.core.normalizations import normalizations
from advkit.core.transformed_code import check_eager

Model = Callable[[Tensor], Tensor]
"""An `nn.Module`, or any function from images (N, C, H, W) to logits (N, K)."""


def modules_of(model: Model) -> list[nn.Module]:
    """Return all modules of the model; none if it is a plain function."""
    return list(model.modules()) if isinstance(model, nn.Module) else []


def device_of(model: Model) -> torch.device:
    """Return the device of the model's first parameter, or the CPU if it has none."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))


def as_weights(model: Model, x: Tensor) -> Tensor:
    """Return images (N, ...) on the device and in the type of the model's first floating-point parameter.

    Args:
        model: any model; images for one without parameters stay as they are.
        x: floating-point images.
    """
    weights = (p for module in modules_of(model) for p in module.parameters(recurse=False) if p.is_floating_point())
    like = next(weights, x)
    return x.to(like.device, like.dtype)


_turns = RLock()
"""A model's mode and flags, and torch's random state, belong to one attack at a time: others wait for their turn."""


@contextmanager
def guard(
    model: Model, *, mode: Literal["eval", "keep"] = "eval", device: torch.device | None = None
) -> Iterator[None]:
    """Context manager that freezes the parameters and sets eval mode; the mode "keep" leaves modules as they are.

    On leaving, also by an exception: every module's mode, every parameter's `requires_grad` and `.grad`, every buffer
    and torch's global random state are as they were. Inside, gradients through normalizations are right on a CPU.

    Two threads may attack at once: each waits for its turn, since they share the global random state. Passes that
    you make in another thread do not wait: they see the model frozen and in eval mode meanwhile.

    Args:
        model: the model; of a plain function only the random state is guarded.
        mode: "eval", or "keep" to attack the model in the mode it is in.
        device: the device of the images, if the model has no parameters to tell.
    """
    check_eager()
    with _turns, _kept(model, mode, device):
        yield


@contextmanager
def _kept(model: Model, mode: str, device: torch.device | None) -> Iterator[None]:
    """What `guard` promises, for the thread whose turn it is."""
    modules = modules_of(model)
    parameters = {p: (p.requires_grad, p.grad) for m in modules for p in m.parameters(recurse=False)}
    buffers = [(m, k, b, b.clone()) for m in modules for k, b in m._buffers.items() if b is not None]
    modes = [(m, m.training) for m in modules if hasattr(m, "training")]  # a frozen script has none
    tensors: list[Any] = [*parameters, *(b for _, _, b, _ in buffers)]
    devices = {t.device for t in tensors} | ({device} if device else set())
    with torch.random.fork_rng(devices=[d for d in devices if d.type == "cuda"]):
        try:
            for parameter in parameters:
                parameter.requires_grad_(False)
            if mode == "eval" and isinstance(model, nn.Module) and any(training for _, training in modes):
                _set_mode(model, False)
            with lent(normalizations(modules)):
                yield
        finally:
            if any(module.training != training for module, training in modes):
                _tell_modes(modes)
            for module, training in modes:
                module.training = training
            for parameter, (requires_grad, grad) in parameters.items():
                parameter.requires_grad_(requires_grad)
                parameter.grad = grad
            for module, key, buffer, saved in buffers:
                _restore(module, key, buffer, saved)


def _set_mode(module: nn.Module, training: bool) -> None:
    """The mode; a module whose mode is fixed, as that of `torch.export`, is left in the one that it has."""
    try:
        module.train(training)
    except NotImplementedError:
        return


def _tell_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    """Modules with a `train` of their own hear of the mode they return to: some merge weights or keep a cache by it."""
    for module, training in modes:
        if getattr(module.train, "__func__", None) is not nn.Module.train:
            _set_mode(module, training)


def _restore(module: nn.Module, key: str, buffer: Tensor, saved: Tensor) -> None:
    """Written whether it has changed or not: to compare would wait for the device once a buffer.

    Its version does not tell, for batch norm writes without raising it; and it is not raised here, since a graph of the
    caller's may hold the buffer. One made under inference mode cannot have been written outside of it.
    """
    if not buffer.is_inference():
        buffer.data.copy_(saved)
    module._buffers[key] = buffer
