"""Whether the recorded operations are the model: both are asked about the images themselves.

A recording holds one path. A model that reads pixels outside of torch's recorded operations, or counts the images of
its batch, may take another one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.graph import Graph
from advkit.certification.rounding import Rounding
from advkit.core.errors import InputError
from advkit.core.model_checks import check_finite
from advkit.core.outputs import answer_of

ASKED = 256
"""Images in one pass of the model."""

BOUNDED = 16
"""Images whose logits are bounded at once."""


def check_faithful(
    model: Callable[[Tensor], Tensor], graph: Graph, x: Tensor, rounding: Rounding, bounds: tuple[float, float]
) -> None:
    """Compare the logits of the model with those of its recorded operations at x, up to the rounding of both.

    The model is asked in a batch of the caller's size, and about the first image alone.

    Args:
        model: callable from images to logits, or to an answer that holds them, in eval mode.
        graph: the recorded operations.
        x: images (N, ...).
        rounding: the model's own arithmetic.
        bounds: range of the pixels.

    Raises:
        InputError: the logits differ by more than rounding, or are not finite.
    """
    if not len(x):
        return
    with torch.no_grad():
        logits = torch.cat([answer_of(model(part)) for part in torch.split(x, ASKED)])
        alone = _alone(model, x[:1]) if len(x) > 1 else logits
    check_finite(logits, x)
    wrong, step = 0, graph.at_once(BOUNDED)
    for place, (part, seen) in enumerate(zip(torch.split(x, step), torch.split(logits, step), strict=True)):
        made = Bounds(graph, ball_around(part, 0.0, "linf", bounds), rounding)
        made.forward(refined=False)
        low, high = made.low[-1], made.high[-1]
        outside = _outside(seen, low, high)
        if not place and alone.numel() == seen[:1].numel():  # some models drop the axis of a single image
            outside[:1] |= _outside(alone.view_as(seen[:1]), low[:1], high[:1])
        wrong += int(outside.sum())  # note: a wait for the device
    if wrong:
        raise InputError(
            "the model cannot be traced, so it cannot be certified (its recorded operations give other logits than "
            f"the model for {wrong} of {len(x)} images: does it branch on pixels, leave torch, or count its batch?)"
        )


def _alone(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The answer to one image; no entries from a model that takes several images only, as behind `squeeze()`."""
    try:
        return answer_of(model(x))
    except Exception:
        return x.new_zeros(0)


def _outside(logits: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(N,) bool: a logit lies outside of the bounds; bounds that are NaN say nothing, and certify nothing."""
    return ((logits.double() < low) | (logits.double() > high)).any(1)
