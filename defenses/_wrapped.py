"""The base class of networks that wrap another network at inference."""

from typing import Any

from torch import nn

from advkit.core.errors import InputError


class Wrapped(nn.Module):
    """A network that wraps `model`; the card and the normalisation are those of the model inside.

    Args:
        model: callable that takes images and returns logits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise InputError(f"expected a model (an nn.Module), got {type(model).__name__}")
        self.model = model

    def __getattr__(self, name: str) -> Any:
        """Return the card or the normalisation of the network inside."""
        if name in ("card", "normalize"):
            return getattr(self.model, name)
        return super().__getattr__(name)
