"""The only way to query a model outside an attack: `classify` for one answer, `looking` for several passes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from advkit.core.guard import Model, guard
from advkit.core.steady import AnySize


def classify(model: Model, x: Tensor) -> Tensor:
    """Return the model's outputs at x (N, ...), in eval mode and without a gradient. The model is left as it was.

    If the model returns a dict or an object with `logits`, these are the outputs. Integers become floats.

    Raises:
        InputError: the model's answer holds no logits.
    """
    with looking(model, x.device):
        return AnySize(model, len(x), model)(x)


@contextmanager
def looking(model: Model, device: torch.device | None = None, *, gradients: bool = False) -> Iterator[None]:
    """Context manager: inside the block the model is in eval mode and frozen; afterwards it is as it was.

    Args:
        model: an `nn.Module`, or any function from images to outputs.
        device: the device of the images, if the model has no parameters to tell.
        gradients: whether passes are recorded, so that gradients by the images can be taken.
    """
    with torch.inference_mode(False), torch.set_grad_enabled(gradients), guard(model, device=device):
        yield
