"""Small batches that pass the model together: one pass over several views of the same images."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from advkit.core.best_points import take
from advkit.core.goals import Goal
from advkit.core.guard import Model
from advkit.core.losses import Loss, Values, climb

View = Callable[[Tensor], Tensor]
"""Images (M, ...) -> images of the same shape, differentiable."""

JOINT = 2**18
"""The number of entries of images that pass the model together. Small batches cost more an image."""


def runs(views: Sequence[View | None], x: Tensor | None) -> list[list[View | None]]:
    """Return the views in order, in runs that pass together.

    Args:
        views: functions of images; None, which stands for the images themselves, is a run of its own.
        x: images (M, ...) that all views take; None if every view has to pass alone.
    """
    most = 1 if x is None else JOINT // max(1, x.numel())
    found: list[list[View | None]] = []
    for view in views:
        if view is None or not found or found[-1][-1] is None or len(found[-1]) >= most:
            found.append([view])
        else:
            found[-1].append(view)
    return found


def look(
    model: Model, goal: Goal, loss: str | Loss, x: Tensor, views: Sequence[View], clean: Tensor
) -> tuple[Tensor, Values, Tensor]:
    """Return logits (V * M, K), loss (V * M,) and gradients (V * M, ...) of V views, one after the other, in one pass.

    Args:
        model: images -> logits.
        goal: goal of the M rows.
        loss: the loss that is differentiated, a name or a function.
        x: images (M, ...).
        views: the V functions of images.
        clean: logits of the clean images (M, K).
    """
    index = torch.arange(len(x), device=x.device).repeat(len(views))
    with torch.enable_grad():
        leaf = x.detach().repeat(len(views), *[1] * (x.ndim - 1)).requires_grad_()
        seen = torch.cat([view(part) for view, part in zip(views, torch.split(leaf, len(x)), strict=True)])
        graph = model(seen)
        values, gradient = climb(loss, take(goal, index), graph, leaf, take(clean, index))
    return graph.detach(), cache(values), gradient


def each(values: Values, gradient: Tensor, rows: int) -> Iterator[tuple[Values, Tensor]]:
    """Yield the loss (M,), computed when it is asked for, and the gradient (M, ...) of each view.

    Args:
        values: loss of all views, see `look`.
        gradient: gradients of all views.
        rows: the number M of images.
    """
    for k, part in enumerate(torch.split(gradient, rows)):
        yield partial(_rows, values, k * rows, (k + 1) * rows), part


def _rows(values: Values, first: int, last: int) -> Tensor:
    return values()[first:last]
