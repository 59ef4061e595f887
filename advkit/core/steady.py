"""Whether a model is a function of one image; and one that takes batches of any size."""

from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.goals import flat, wide
from advkit.core.guard import Model
from advkit.core.outputs import answer_of

FUNCTION, RANDOM, MIXED = 0, 1, 2
"""A function of one image; random; or one whose answer to an image depends on the rest of the batch."""


def apart(first: Tensor, second: Tensor) -> Tensor:
    """(N,) bool: two answers (N, ...) to the same images differ by more than the noise of their type."""
    one, other = flat(wide(first)), flat(wide(second))
    noise = max(1e-3, torch.finfo(first.dtype).eps ** 0.5) * other.abs().amax(1)
    broken = one.isfinite().all(1) != other.isfinite().all(1)
    differ: Tensor = broken | ((one - other).abs().amax(1) > noise)
    return differ


def nature(model: Model, x: Tensor, logits: Tensor) -> int:
    """What the model is, by asking its first image again, alone: one of `FUNCTION`, `RANDOM` and `MIXED`.

    One image is enough to see it, since every image passes through the same model. Only where its answer differs, the
    whole batch is asked again.

    Args:
        model: callable from images (M, ...) to logits (M, K), M from 1 up to the size of the batch.
        x: the images of the batch (N, ...).
        logits: the model's answer to them (N, K).
    """
    with torch.no_grad():
        if not bool(apart(model(x[:1]), logits[:1])):
            return FUNCTION
        return RANDOM if bool(apart(model(x), logits).any()) else MIXED


class AnySize:
    """A model that takes batches of any size up to one, even if it was exported for batches of that size only.

    A smaller batch that the model refuses is filled up with copies of its first image, from then on at every pass.

    Args:
        model: callable from images (N, ...) to logits (N, K).
        size: the number of images in the batch of the call.
    """

    def __init__(self, model: Model, size: int) -> None:
        self._model, self._size, self._fill = model, size, False

    def __call__(self, x: Tensor) -> Any:
        """The model's answer to x (M, ...); a tensor (M, ...) where the batch was filled up."""
        if len(x) >= self._size:
            return self._whole(x)
        if self._fill:
            return self._filled(x)
        try:
            return self._model(x)
        except (AssertionError, RuntimeError, ValueError) as error:
            try:
                answer = self._filled(x)
            except Exception:
                raise error from None
            self._fill = True
            return answer

    def _whole(self, x: Tensor) -> Any:
        try:
            return self._model(x)
        except AssertionError as error:
            if not str(error).startswith("Guard failed"):
                raise
            raise InputError(
                f"the model was exported for images of another shape than {tuple(x.shape)} ({error}): give batches of "
                "that shape, or export it with dynamic_shapes"
            ) from error

    def _filled(self, x: Tensor) -> Tensor:
        copies = x[:1].expand(self._size - len(x), *x.shape[1:])
        return answer_of(self._model(torch.cat([x, copies])))[: len(x)]
