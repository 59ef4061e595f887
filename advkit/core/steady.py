"""Check whether a model is a function of one image; adapt a model to batches of any size."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.core.goals import flat, wide
from advkit.core.guard import Model
from advkit.core.model_checks import check_place, tell
from advkit.core.outputs import answer_of

FUNCTION, RANDOM, MIXED = 0, 1, 2
"""A function of one image; random; or one whose answer to an image depends on the rest of the batch."""


def apart(first: Tensor, second: Tensor) -> Tensor:
    """(N,) bool: two answers (N, ...) to the same images differ by more than the rounding noise of their type."""
    one, other = flat(wide(first)), flat(wide(second))
    noise = max(1e-3, torch.finfo(first.dtype).eps ** 0.5) * other.abs().amax(1)
    broken = one.isfinite().all(1) != other.isfinite().all(1)
    differ: Tensor = broken | ((one - other).abs().amax(1) > noise)
    return differ


def nature(model: Model, x: Tensor, logits: Tensor) -> int:
    """Return `FUNCTION`, `RANDOM` or `MIXED`: the model is asked for the first image again, alone.

    One image is enough, since every image passes through the same model. The whole batch is asked again only if the
    answer differs.

    Args:
        model: callable from images (M, ...) to logits (M, K), M from 1 up to the size of the batch.
        x: the images of the batch (N, ...).
        logits: the model's answer to them (N, K).
    """
    with torch.no_grad():
        if not bool(apart(model(x[:1]), logits[:1])):
            return FUNCTION
        return RANDOM if bool(apart(model(x), logits).any()) else MIXED


_taken: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # the size of a batch that the model took

EXPORTED = ("Guard failed", "Expected input at")
"""How torch's errors about the shapes of an exported module begin: those of the newest torch, and of 2.6."""


class AnySize:
    """A model that takes batches of any size, even if it was exported for batches of one size only.

    If the model refuses a batch, the batch is filled up with copies of its first image to a size that the model has
    taken before; from then on this is done at every pass.

    An answer stays as it was given. A model may write each answer to the same memory, a buffer of its own or that of
    an engine: such answers are copied. One that drops the axis of a single image gets it back.

    Args:
        passes: callable from images (N, ...) to logits (N, K).
        size: the number of images in the batch of the call.
        model: the model itself.
    """

    def __init__(self, passes: Model, size: int, model: Model) -> None:
        self._passes, self._model = passes, model
        self._size = max(size, _taken.get(model, 0)) if isinstance(model, nn.Module) else size
        self._fill = self._known = False
        self._first: Tensor | None = None  # the answer of the first pass, where the model put it
        self._rewrites: bool | None = None  # the model writes each answer to the same memory; None: not known

    def __call__(self, x: Tensor) -> Tensor:
        """Return the model's answer to x (M, ...), a tensor (M, ...)."""
        answer = self._asked(x)
        if not (type(answer) is Tensor and answer.is_floating_point() and answer.layout is torch.strided):
            answer = answer_of(answer)
        if self._first is None:
            self._first = answer.detach()
            return answer.clone()
        if len(x) == 1 and answer.ndim < self._first.ndim:
            answer = answer[None]
        if answer.shape[:1] != x.shape[:1] and self._first.ndim and len(self._first) == self._size:
            raise InputError(
                f"the model answered a batch of {len(x)} with {tuple(answer.shape)}, after {self._size} with "
                f"{tuple(self._first.shape)}: expected one row an image; a state kept from an earlier batch has to be "
                "reset in forward"
            )
        if self._rewrites is None:
            self._rewrites = _place(answer) == _place(self._first)
        return answer.clone() if self._rewrites else answer

    def _asked(self, x: Tensor) -> Any:
        """The model's answer, whatever it is."""
        if self._fill and len(x) < self._size:
            return self._filled(x)
        try:
            answer = self._passes(x)
        except (AssertionError, RuntimeError, ValueError) as error:
            return self._after(error, x)
        except Exception as error:
            tell(error, self._model, x)
            raise
        if not self._known and len(x) == self._size:
            self._known = True
            if isinstance(self._model, nn.Module):
                _taken[self._model] = self._size
        return answer

    def _after(self, error: Exception, x: Tensor) -> Tensor:
        """The answer of a filled batch, or the error in words that help."""
        if len(x) < self._size:
            try:
                answer = self._filled(x)
            except Exception:
                raise error from None
            self._fill = True
            return answer
        check_place(self._model, x)
        if str(error).startswith(EXPORTED):
            raise InputError(
                f"the model was exported for images of another shape than {tuple(x.shape)} ({error}): give batches of "
                "that shape, or export it with dynamic_shapes"
            ) from error
        tell(error, self._model, x)
        raise error

    def _filled(self, x: Tensor) -> Tensor:
        copies = x[:1].expand(self._size - len(x), *x.shape[1:])
        return answer_of(self._passes(torch.cat([x, copies])))[: len(x)]


def _place(answer: Tensor) -> int:
    """Where the tensor lies in memory."""
    return answer.untyped_storage().data_ptr()
