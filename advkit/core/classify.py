"""The one way to look at a model and leave no trace."""

import torch
from torch import Tensor

from advkit.core.guard import Model, guard
from advkit.core.outputs import answer_of


def classify(model: Model, x: Tensor) -> Tensor:
    """The model's outputs at x (N, ...), in eval mode, without a gradient; it leaves no trace.

    A model that answers a dict or an object with `logits` gives these; integer answers become floats.

    Raises:
        InputError: an answer that holds no logits.
    """
    with torch.inference_mode(False), torch.no_grad(), guard(model, device=x.device):
        return answer_of(model(x))
