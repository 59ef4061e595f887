"""The one way to look at a model and leave no trace: one answer, or a block of several passes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from advkit.core.guard import Model, guard
from advkit.core.outputs import answer_of
from advkit.core.steady import AnySize


def classify(model: Model, x: Tensor) -> Tensor:
    """The model's outputs at x (N, ...), in eval mode, without a gradient; it leaves no trace.

    A model that answers a dict or an object with `logits` gives these; integer answers become floats.

    Raises:
        InputError: an answer that holds no logits.
    """
    with looking(model, x.device):
        return answer_of(AnySize(model, len(x), model)(x))


@contextmanager
def looking(model: Model, device: torch.device | None = None, *, gradients: bool = False) -> Iterator[None]:
    """Inside, the model is in eval mode and frozen, whatever it is asked; afterwards it is as it was.

    Args:
        model: an `nn.Module`, or any function from images to outputs.
        device: the device of the images, if the model has no parameters to tell.
        gradients: whether passes are recorded, so that gradients by the images can be taken.
    """
    with torch.inference_mode(False), torch.set_grad_enabled(gradients), guard(model, device=device):
        yield
