"""The base class of networks that wrap another network at inference."""

from typing import Any

from torch import nn

from advkit.core.errors import InputError
from advkit.core.model_checks import check_model


class Wrapped(nn.Module):
    """A network that wraps `model`; the card and the normalisation are those of the model inside.

    Args:
        model: an `nn.Module` that takes images and returns logits (N, K).

    Raises:
        InputError: something else, such as a function.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, nn.Module) and callable(model) and not isinstance(model, type):
            raise InputError(
                f"expected a model (an nn.Module), got {type(model).__name__}: write a module whose forward calls it"
            )
        check_model(model)
        self.model = model

    def __getattr__(self, name: str) -> Any:
        """Return the card or the normalisation of the network inside."""
        if name in ("card", "normalize"):
            return getattr(self.model, name)
        return super().__getattr__(name)
