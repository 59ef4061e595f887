"""The toy models of the checks in the form of a goal: outputs and y of its kind, wrong exactly if the class is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.goals import untargeted
from advkit.core.registry import parse_spec
from advkit.core.wishes import Wish, as_wish
from advkit.testing.nets import Wrapped

Head = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Form:
    """A goal, and the conversion of logits (N, K) and classes (N,) to the outputs and the y that it judges.

    Attributes:
        goal: the goal.
        head: logits (N, K) -> outputs (N, ...).
        label: (classes (N,), K) -> y (N, ...).
    """

    goal: Wish
    head: Head | None
    label: Callable[[Tensor, int], Tensor]
    farther: bool = False  # a wrong class need not reach the goal

    def dressed(self, model: Any, y: Tensor) -> tuple[Any, Tensor]:
        """Return the model with the head behind it, and y in the goal's form; unchanged if the goal judges logits."""
        return (model, y) if self.head is None else (Wrapped(model, after=self.head), self.label(y, CLASSES))

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return (N,) bool: the goal is reached by these logits of the toy model."""
        if self.head is not None:
            logits, y = self.head(logits), self.label(y, CLASSES)
        found: Tensor = self.goal.bind(untargeted(y)).margin(logits) > 0
        return found


CLASSES = 4
"""Classes of the toys that a goal with a form of its own is tried on."""


def form_of(goal: Any) -> Form:
    """Return the form of a goal.

    Raises:
        InputError: no toy model is known for the goal.
    """
    wish = as_wish(goal)
    if wish.labelled:
        return Form(wish, None, lambda y, classes: y, farther=wish.spec != "top_k(k=1)")
    name = wish.spec.partition("(")[0]
    if name not in FORMS:
        raise InputError(f"expected a goal of classes or one of {', '.join(FORMS)}, got {wish.spec}")
    return FORMS[name](wish)


def _segmentation(wish: Wish) -> Form:
    """Four pixels, all with the logits of the image."""
    return Form(
        wish,
        lambda logits: logits[:, :, None, None].expand(-1, -1, 2, 2),
        lambda y, classes: y[:, None, None].expand(-1, 2, 2),
    )


def _leads(logits: Tensor, none: float) -> Tensor:
    """(N, CLASSES): how far each class leads the others; one is positive. Classes that a toy does not have: `none`."""
    best, second = logits.topk(2, dim=1).values.unbind(1)
    others = torch.where(logits == best[:, None], second[:, None], best[:, None])
    return torch.nn.functional.pad(logits - others, (0, CLASSES - logits.shape[1]), value=none)


def _one_hot(y: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(y.clamp(0, classes - 1), classes)


def _multi_label(wish: Wish) -> Form:
    """A label for each class: present where it leads the others."""
    return Form(wish, lambda logits: _leads(logits, -1e4), _one_hot)


def _regression(wish: Wish) -> Form:
    """The leads should be far above 0 for y and far below for the others: as far as the tolerance."""
    tolerance = float(parse_spec(wish.spec).options["tolerance"])

    def wanted(y: Tensor, classes: int) -> Tensor:
        return tolerance * (2 * _one_hot(y, classes) - 1).double()

    return Form(wish, lambda logits: _leads(logits, -tolerance), wanted)


def _one_logit(wish: Wish) -> Form:
    """Odd classes against even ones: classes that are neighbours differ."""
    return Form(wish, lambda z: z[:, 1::2].amax(1) - z[:, ::2].amax(1), lambda y, classes: y % 2)


FORMS: dict[str, Callable[[Wish], Form]] = {
    "segmentation": _segmentation,
    "multi_label": _multi_label,
    "regression": _regression,
    "one_logit": _one_logit,
}
"""By the name of the goal."""
