"""Code that torch transforms while it runs, where nothing can be asked of a model and be counted."""

import torch

from advkit.core.errors import InputError


def check_eager() -> None:
    """Check that neither `torch.func` nor a tracer runs this code.

    Raises:
        InputError: inside `torch.func.vmap`, `grad`, `jacrev` and their kin, `torch.jit.trace`, or `make_fx`.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise InputError(
            "attacks and evaluations cannot run inside torch.func (vmap, grad, jacrev, jvp): they take whole batches "
            "and their own gradients; call them outside, and give their result to your function"
        )
    if torch._C._is_tracing():
        raise InputError(
            "attacks and evaluations cannot be traced: torch.jit.trace would keep one result for all images; "
            "trace the model, and attack it"
        )
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        raise InputError("attacks and evaluations cannot be traced by make_fx: trace the model, and attack it")
