"""The forms of a model's answer: logits, an object that holds them, or integer votes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.core.option_numbers import shown
from advkit.core.plain import is_integer, plain


def answer_of(answer: Any) -> Tensor:
    """Return the tensor in a model's answer: itself, `answer["logits"]`, or `answer.logits`, as floats.

    Raises:
        InputError: the answer has another form; the message says what to do.
    """
    if isinstance(answer, Mapping):
        answer = _entry(answer)
    elif not isinstance(answer, Tensor) and hasattr(answer, "logits"):
        answer = answer.logits
    if isinstance(answer, tuple | list):
        raise InputError(
            f"expected the model to return a tensor of logits, got a {type(answer).__name__} of {len(answer)}; "
            "choose one of them: advkit.models.Output(model, 0)"
        )
    if not isinstance(answer, Tensor):
        kind = type(answer).__name__
        raise InputError(
            f"expected the model to return a tensor of logits, got {kind}; wrap it so that it returns them"
        )
    if answer.is_complex():
        raise InputError(f"expected the model to return real logits, got {answer.dtype}")
    found: Tensor = answer if answer.layout is torch.strided else answer.to_dense()
    return found if found.is_floating_point() else found.to(torch.get_default_dtype())


def _entry(answer: Mapping[Any, Any]) -> Any:
    if "logits" in answer:
        return answer["logits"]
    keys = ", ".join(map(repr, answer))
    raise InputError(
        f"expected the model to return logits, got a dict of {keys}; "
        "choose one of them: advkit.models.Output(model, KEY)"
    )


class Output(nn.Module):
    """A model that returns one chosen output of another.

    Args:
        model: a model that returns a tuple, a list, a dict or an object.
        which: the position, the key or the attribute of the output that holds the logits.

    Raises:
        InputError: no model, or a position that is neither an integer nor a word.
    """

    def __init__(self, model: nn.Module, which: int | str) -> None:
        super().__init__()
        if isinstance(model, type) or not callable(model):
            raise InputError(f"expected model as a network (an nn.Module) or a function, got {type(model).__name__}")
        which = plain(which)
        if not isinstance(which, str) and not is_integer(which):
            raise InputError(f"expected which as a position or a key, got {shown(which)}")
        self.model, self.which = model, which

    def forward(self, x: Tensor) -> Tensor:
        """Return the chosen output of the model at x (N, ...).

        Raises:
            InputError: the model has no such output.
        """
        answer = self.model(x)
        try:
            if isinstance(self.which, str) and not isinstance(answer, Mapping):
                return answer_of(getattr(answer, self.which))
            return answer_of(answer[self.which])
        except (LookupError, TypeError, AttributeError) as error:
            raise InputError(f"the model's answer, a {type(answer).__name__}, has no output {self.which!r}") from error
