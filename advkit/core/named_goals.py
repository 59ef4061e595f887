"""The named goals. A goal is the condition on the model's outputs under which a sample counts as a success."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from advkit.core.door import check_between, check_count, check_positive, check_target
from advkit.core.errors import InputError
from advkit.core.model_checks import check_labels
from advkit.core.plain import plain
from advkit.core.wishes import GOALS, Confident, Margin, OfForm, Towards, Wish
from advkit.core.written import written


@GOALS.register("untargeted")
def untargeted() -> Wish:
    """Make the goal of any class other than y."""
    return Towards("untargeted", "untargeted")


@GOALS.register("target")
def target(classes: Tensor | str | int) -> Wish:
    """Make the goal of a given class: a tensor (N,), a class, or a word as in `target=` of the call.

    Args:
        classes: class to reach: a tensor (N,), a number, or a word such as "runner_up".

    Raises:
        InputError: the class is no number of 0 or more, no word and no tensor.
    """
    given: Any = plain(classes)
    if not isinstance(given, Tensor):
        given = check_target(given, torch.empty(0, device="cpu"))
    elif given.ndim != 1 or given.is_floating_point() or given.is_complex():
        raise InputError(f"expected target as integers (N,), one a sample, got {given.dtype} {tuple(given.shape)}")
    return Towards(given, f"target(classes={written(given)})")


@GOALS.register("confident")
def confident(*, lead: float | None = None, probability: float | None = None) -> Wish:
    """Make the goal of a wrong class (or the target) with a lead in logits above `lead`, or above this probability.

    Args:
        lead: lead in logits that the class must exceed, a number >= 0. Every attack can pursue it, with a target too.
        probability: softmax probability that a class other than y must exceed, between 0 and 1.

    Raises:
        InputError: both or neither are given, or a value is out of range.
    """
    if (lead is None) == (probability is None):
        raise InputError("expected a lead or a probability, one of the two, such as 'confident(lead=1)'")
    if probability is None:
        lead = check_between("lead", lead, 0, math.inf)
        if math.isinf(lead):
            raise InputError("expected lead as a finite number >= 0, got inf")
        return Confident(lead, f"confident(lead={written(lead)})")
    odds = torch.logit(
        torch.tensor(check_between("probability", probability, 0, 1, ends=False), dtype=torch.float64, device="cpu")
    )

    def sure(logits: Tensor, y: Tensor) -> Tensor:
        scores = logits.log_softmax(1)
        others = scores.scatter(1, y.long()[:, None], -torch.inf)
        best = others.argmax(1, keepdim=True)
        rest = logits.scatter(1, best, -torch.inf).logsumexp(1)
        return logits.gather(1, best).squeeze(1) - rest - float(odds)

    return OfForm(sure, f"confident(probability={written(float(probability))})", labelled=True)


@GOALS.register("top_k")
def top_k(k: int) -> Wish:
    """Make the goal that y (N,) is not among the k likeliest classes; `top_k(1)` is the goal of a wrong class.

    Args:
        k: number of the likeliest classes that y must leave.

    Raises:
        InputError: k is no integer of 1 or more.
    """
    count = check_count("k", k)

    def behind(logits: Tensor, y: Tensor) -> Tensor:
        label = y.long()[:, None]
        if logits.shape[1] <= count:
            raise InputError(f"expected top_k with k below the number of classes {logits.shape[1]}, got {count}")
        others = logits.scatter(1, label, -torch.inf).topk(count, dim=1).values[:, -1]
        return others - logits.gather(1, label).squeeze(1)

    return OfForm(behind, f"top_k(k={count})", labelled=True)


@GOALS.register("one_logit")
def one_logit() -> Wish:
    """Make the goal of a wrong sign for outputs of one logit (N,) or (N, 1), where y (N,) is 0 or 1."""

    def wrong(outputs: Tensor, y: Tensor) -> Tensor:
        if outputs.numel() != len(outputs):
            raise InputError(f"expected one logit an image for one_logit, got outputs of shape {tuple(outputs.shape)}")
        if y.numel() != len(outputs):
            raise InputError(f"expected y (N,), one number an image, for one_logit, got {tuple(y.shape)}")
        return (1 - 2 * y.reshape(-1).to(outputs.dtype)) * outputs.reshape(-1)

    return OfForm(wrong, "one_logit", check=_zeros_and_ones("one_logit"))


@GOALS.register("multi_label")
def multi_label() -> Wish:
    """Make the goal of at least one wrong sign for outputs of one logit a label (N, K), where y (N, K) is 0 or 1."""

    def wrong(outputs: Tensor, y: Tensor) -> Tensor:
        _same_shape("multi_label", outputs, y)
        return ((1 - 2 * y.to(outputs.dtype)) * outputs).flatten(1).amax(1)

    return OfForm(wrong, "multi_label", check=_zeros_and_ones("multi_label"))


@GOALS.register("regression")
def regression(tolerance: float) -> Wish:
    """Make the goal of an output that differs from y by more than `tolerance`; y has the outputs' shape.

    An axis of length 1 may be missing: y (N,) goes with outputs (N, 1).

    Args:
        tolerance: largest distance of an output from y that is still right, in the units of the outputs.
    """
    most = check_positive("tolerance", tolerance)

    def away(outputs: Tensor, y: Tensor) -> Tensor:
        if _long_axes(y) != _long_axes(outputs):
            _same_shape("regression", outputs, y)
        off = outputs - y.to(outputs.dtype).reshape(outputs.shape)
        return torch.where(off >= 0, off, -off).reshape(len(y), -1).amax(1) - most  # at 0 the slope of abs() is 0

    return OfForm(away, f"regression(tolerance={written(most)})", check=_check_finite)


@GOALS.register("segmentation")
def segmentation(share: float, *, ignore: int | None = None) -> Wish:
    """Make the goal of wrong classes for more than this share of the pixels: outputs (N, K, H, W), y (N, H, W).

    Args:
        share: share of the pixels that must get a wrong class, in [0, 1).
        ignore: label of pixels that do not count, such as 255; default: every pixel has a class.

    Raises:
        InputError: the share is out of range, or `ignore` is no integer.
    """
    least = check_between("share", share, 0, 1)
    if least == 1:
        raise InputError("expected share as a number from 0 to below 1, got 1: more than all pixels cannot be wrong")
    left_out = None if ignore is None else check_count("ignore", ignore, least=-(2**31))
    advice = "; segmentation(share, ignore=255) leaves pixels of that label out"

    def check(y: Tensor) -> Margin:
        if y.is_floating_point() or y.is_complex() or y.ndim < 2:
            raise InputError(f"expected y as integers (N, H, W) for segmentation, got {y.dtype} {tuple(y.shape)}")
        classes = y.long() if left_out is None else y.long()[y != left_out]
        if left_out is not None and not bool((y != left_out).flatten(1).any(1).all()):
            raise InputError(f"expected a pixel with a class in each image, got one where all are {left_out}")
        return partial(wrong, (int(classes.min()), int(classes.max())) if classes.numel() else (0, 0))

    def wrong(seen_classes: tuple[int, int], outputs: Tensor, y: Tensor) -> Tensor:
        if outputs.ndim < 3 or y.shape != (len(outputs), *outputs.shape[2:]):
            seen = f"{tuple(outputs.shape)} and {tuple(y.shape)}"
            does = ""
            if y.shape == outputs.shape:
                does = "; one-hot maps become classes by .argmax(1)"
            elif y.shape == (len(outputs), 1, *outputs.shape[2:]):
                does = "; maps of one channel lose it by .squeeze(1)"
            raise InputError(f"expected outputs (N, K, H, W) and y (N, H, W) for segmentation, got {seen}{does}")
        counts = None if left_out is None else (y != left_out).flatten(1)  # (N, P)
        label = y.long() if left_out is None else y.long().masked_fill(y == left_out, 0)
        check_labels(seen_classes, outputs.shape[1], advice)
        label = label[:, None]
        lead = (outputs.scatter(1, label, -torch.inf).amax(1) - outputs.gather(1, label).squeeze(1)).flatten(1)
        if counts is None:
            return lead.topk(math.floor(least * lead.shape[1]) + 1, dim=1).values[:, -1]
        last = (least * counts.sum(1).double()).floor().long()[:, None]
        return lead.masked_fill(~counts, -torch.inf).sort(dim=1, descending=True).values.gather(1, last).squeeze(1)

    more = "" if left_out is None else f", ignore={left_out}"

    def unseen(outputs: Tensor, y: Tensor) -> Tensor:
        return check(y)(outputs, y)

    return OfForm(unseen, f"segmentation(share={written(least)}{more})", check=check)


GOALS.register("topk")(top_k)


def _same_shape(goal: str, outputs: Tensor, y: Tensor) -> None:
    if y.shape != outputs.shape:
        raise InputError(f"expected y of the outputs' shape {tuple(outputs.shape)} for {goal}, got {tuple(y.shape)}")


def _long_axes(t: Tensor) -> tuple[int, ...]:
    """The shape without axes of length 1 behind the first."""
    return (len(t), *(size for size in t.shape[1:] if size != 1))


def _check_finite(y: Tensor) -> None:
    if not bool(y.isfinite().all()):
        raise InputError(f"expected y as finite numbers for regression, got NaN or infinity in {_rows(~y.isfinite())}")


def _zeros_and_ones(goal: str) -> Callable[[Tensor], None]:
    def check(y: Tensor) -> None:
        other = (y != 0) & (y != 1)
        if bool(other.any()):
            seen = y[other][0].item()
            advice = ""
            if bool(((y == -1) | (y == 1)).all()):
                advice = "; signs -1 and 1 become 0 and 1 by (y > 0).long()"
            elif bool(((y >= 0) & (y <= 1)).all()):
                advice = "; probabilities become 0 and 1 by (y > 0.5).long()"
            raise InputError(f"expected y as 0 or 1 for {goal}, got {seen:g} among {_rows(other)}{advice}")

    return check


def _rows(wrong: Tensor) -> str:
    """How many rows of (N, ...) have an entry that is true."""
    return f"{int(wrong.reshape(len(wrong), -1).any(1).sum())} of {len(wrong)} rows"
