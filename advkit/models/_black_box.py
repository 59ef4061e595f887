"""Black-box models: a NumPy function, a service behind an API, or a file that another program runs."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advkit.core.door import check_batch, check_between, check_count, check_flag
from advkit.core.errors import InputError, unknown
from advkit.core.plain import kind

ANSWERS = {"logits": "scores", "probabilities": "scores", "labels": "labels"}
"""What the function returns -> what an attacker learns from it."""

LONGEST = 86_400.0
"""The longest first pause, a day."""

LEAST = 1e-12
"""Probabilities below this count as this, so that their logarithm is finite."""


class BlackBox(nn.Module):
    """Images (N, C, H, W) in [0, 1] -> logits (N, K), by calling a function of NumPy arrays; it has no gradient.

    Attacks on scores or labels work on it as on any model, and attacks that need a gradient raise an error. A batch is
    sent to the function in parts of `batch_size`. Finished rows of an attack are not sent again, so `billed` grows by
    the sum of the attack's `queries`, if no call is retried and no answer comes from the cache.

    Attributes:
        billed: number of images sent to the function so far: one for each image and each try, without cached ones.
        cached: number of answers that came from the cache so far.

    Args:
        ask: function from a float array (N, C, H, W) in [0, 1] to scores (N, K) or integer labels (N,).
        answers: form of what the function returns: "logits", "probabilities" (their logarithm is taken) or "labels".
        num_classes: number of classes K; needed for labels, otherwise seen in the first answer.
        batch_size: maximum number of images in one call of the function; None sends a batch whole.
        cache: True keeps every answer, and an image that was asked about before costs nothing.
        tries: number of times a call is made before its OSError (a lost connection, a timeout) is passed on.
        pause: seconds between the first two tries; each further pause is twice as long.

    Raises:
        InputError: `ask` is not a function, the form of answers is unknown, labels lack `num_classes`, or another
            option is no number of its range.
    """

    counters = ("billed", "cached", "num_classes")  # what calls change: they are not part of a run's identity

    def __init__(
        self,
        ask: Callable[[np.ndarray[Any, Any]], Any],
        *,
        answers: str = "logits",
        num_classes: int | None = None,
        batch_size: int | None = None,
        cache: bool = False,
        tries: int = 1,
        pause: float = 1.0,
    ) -> None:
        super().__init__()
        if not callable(ask):
            raise InputError(f"expected ask as a function of NumPy arrays, got {type(ask).__name__}")
        if answers not in ANSWERS:
            raise unknown("form of answers", str(answers), ANSWERS)
        if answers == "labels" and num_classes is None:
            raise InputError("labels do not tell how many classes there are: give num_classes=")
        least = 1 if answers == "logits" else 2  # one logit is a form of its own, see `advkit.goals.one_logit`
        self.num_classes = None if num_classes is None else check_count("num_classes", num_classes, least=least)
        self.batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        self.tries = check_count("tries", tries)
        self.pause = check_between("pause", pause, 0, LONGEST)
        check_flag("cache", cache)
        self.ask, self.answers = ask, answers
        self.knowledge = ANSWERS[answers]
        self.billed = self.cached = 0
        self._kept: dict[bytes, np.ndarray[Any, Any]] | None = {} if cache else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the answers to x (N, ...), detached, on x's device.

        Raises:
            InputError: x is no floating-point tensor, a gradient was requested, or the function does not return the
                form that `answers` states.
        """
        check_batch(x, span=" in [0, 1]")
        if x.requires_grad and torch.is_grad_enabled():
            raise InputError("a black box has no gradient: use an attack on scores or labels, or transfer(attack, ...)")
        images = x.detach().to("cpu", torch.promote_types(x.dtype, torch.float32)).contiguous().numpy()
        if not len(images):
            return x.detach().new_zeros(0, self.num_classes or 0)
        found = self._asked(images) if self._kept is None else self._remembered(images, self._kept)
        return torch.from_numpy(found).to(x.device)

    def _remembered(
        self, images: np.ndarray[Any, Any], kept: dict[bytes, np.ndarray[Any, Any]]
    ) -> np.ndarray[Any, Any]:
        keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
        first = {key: i for i, key in enumerate(keys) if key not in kept}
        if first:
            kept.update(zip(first, self._asked(images[list(first.values())]), strict=True))
        self.cached += len(images) - len(first)
        return np.stack([kept[key] for key in keys])

    def _asked(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        size = self.batch_size or len(images)
        parts = [images[i : i + size] for i in range(0, len(images), size)]
        return np.concatenate([self._understood(self._tried(part), len(part)) for part in parts])

    def _tried(self, images: np.ndarray[Any, Any]) -> Any:
        for left in reversed(range(self.tries)):
            self.billed += len(images)
            try:
                return self.ask(images.copy())  # it may write on what it gets
            except OSError:
                if not left:
                    raise
                time.sleep(self.pause * 2 ** (self.tries - 1 - left))
        raise AssertionError("tries is at least 1")

    def _understood(self, answer: Any, count: int) -> np.ndarray[Any, Any]:
        """The answer to `count` images as logits (count, K)."""
        try:
            found = np.asarray(answer)
        except (ValueError, TypeError, RuntimeError):  # rows of several lengths; a tensor of torch that has a gradient
            found = np.asarray(None)
        seen = f"{found.dtype} {found.shape}" if found.dtype.kind != "O" else _kind(answer)
        if self.answers == "labels":
            return self._votes(found, count, seen)
        if found.ndim != 2 or len(found) != count or found.dtype.kind not in "fiu":
            raise InputError(
                f"expected the function to return scores ({count}, K), got {seen}"
                + ("; labels need answers='labels'" if found.shape == (count,) else "")
            )
        if self.num_classes is None:
            self.num_classes = found.shape[1]
        if found.shape[1] != self.num_classes:
            raise InputError(
                f"expected the function to return scores ({count}, {self.num_classes}), as num_classes or its earlier "
                f"answers say, got {seen}"
            )
        found = found if found.dtype in (np.float32, np.float64) else found.astype(np.float32)
        if self.answers == "logits":
            return found
        if not (found.min() >= 0 and np.allclose(found.sum(1), 1, atol=1e-2)):
            raise InputError(
                "expected the function to return probabilities, each row with the sum 1; got other numbers"
            )
        logs: np.ndarray[Any, Any] = np.log(np.maximum(found, LEAST))
        return logs

    def _votes(self, found: np.ndarray[Any, Any], count: int, seen: str) -> np.ndarray[Any, Any]:
        """+1 for the class named, -1 for the others."""
        classes = self.num_classes or 0
        if found.shape != (count,) or found.dtype.kind not in "iu":
            raise InputError(f"expected the function to return integer labels ({count},), got {seen}")
        if not 0 <= found.min() <= found.max() < classes:
            raise InputError(
                f"expected labels from 0 to {classes - 1}, got {found.min()} to {found.max()}: give num_classes="
            )
        votes: np.ndarray[Any, Any] = 2 * np.eye(classes, dtype=np.float32)[found.astype(np.int64)] - 1
        return votes


def _kind(answer: Any) -> str:
    """The type of an answer that is no array of numbers, and those of its parts."""
    if not isinstance(answer, list | tuple) or not len(answer):
        return kind(answer)
    parts = {f"{len(part)} entries" if isinstance(part, list) else kind(part) for part in answer}
    return f"a {kind(answer)} of {len(answer)}: {', '.join(sorted(parts))}"
