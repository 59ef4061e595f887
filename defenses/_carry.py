"""Parameter gradients that are computed before `backward` is called, and passed on by it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import AdvkitError

LARGEST_SCALE = 2.0**16  # where GradScaler starts


def gradients(value: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Return the gradients of a scalar with respect to each input, None without dependence; the graph is freed.

    In float16 small gradients would vanish before GradScaler can scale the loss, so they are computed scaled, by the
    largest power of 16 up to 2**16 at which all are finite, and divided afterwards.
    """
    with torch.autocast(value.device.type, enabled=False):  # the backward pass repeats the forward pass's own types
        if not _is_half(value, inputs):
            return torch.autograd.grad(value, inputs, allow_unused=True)
        scale = LARGEST_SCALE
        scaled = torch.autograd.grad(value * scale, inputs, allow_unused=True, retain_graph=True)
        while scale > 1 and not _all_finite(scaled):
            scale /= 16
            scaled = torch.autograd.grad(value * scale, inputs, allow_unused=True, retain_graph=True)
        return tuple(None if g is None else g / scale for g in scaled)


def _is_half(value: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Whether the pass was made in float16: by parameters or images of that type, or by autocast."""
    kind = value.device.type
    return any(t.dtype == torch.float16 for t in inputs) or (
        torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    )


def _all_finite(tensors: Sequence[Tensor | None]) -> bool:
    finite = [t.isfinite().all() for t in tensors if t is not None]
    return not finite or bool(torch.stack(finite).all())  # note: a wait for the device


def carry(value: Tensor, known: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    """`value` (a scalar), whose gradients by `parameters` are the `known` ones.

    They reach the parameters like any gradient, so that the hooks of DistributedDataParallel see one sum.
    """
    if not parameters:
        return value
    result: Tensor = _Carry.apply(value, known, *parameters)
    return result


class _Carry(torch.autograd.Function):
    """The identity of its first argument, with a gradient that somebody else computed."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, known: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.known = known
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise AdvkitError(
                "AdversarialLoss cannot be differentiated twice, since it stores first gradients: leave out "
                "create_graph=True, or write alpha * J(x, y) + (1 - alpha) * J(x_adv, y) with x_adv from the attack"
            )
        return (None, None, *(None if g is None else g * grad.to(g.dtype) for g in ctx.known))
