"""What perturbations that are found on a data set have in common: a network with gradients, and a look at these."""

from typing import Any

import torch
from torch import Tensor

from advkit.core.best_points import sloped
from advkit.core.errors import warn
from advkit.core.guard import Model
from advkit.core.knowledge import check_open


def check_gradients(model: Model, purpose: str) -> None:
    """Check that the model shows gradients.

    Args:
        model: the model on which something is to be found.
        purpose: what is to be found, in the plural.

    Raises:
        InputError: the model shows less.
    """
    check_open(
        model,
        purpose,
        "find one on a network with gradients, and evaluate this model with what was found, as evaluate(model, data, "
        "[found])",
    )


class Watch:
    """How many gradients of an image were exactly zero, over all steps of a search on a data set."""

    def __init__(self) -> None:
        self._zeros: list[Tensor] = []

    def over(self, oracle: Any) -> Any:
        """Return the oracle for one step, whose gradients are looked at.

        Args:
            oracle: the model as the attack may ask it.
        """
        return _Watched(oracle, self._zeros)

    def remark(self) -> None:
        """Warn where most gradients were zero: those images had no say."""
        zeros = torch.cat([zero.cpu() for zero in self._zeros])
        blind = int(zeros.sum())
        if 2 * blind > len(zeros):
            warn(
                f"the gradient of an image was exactly zero {blind:,} of {len(zeros):,} times, and it had no say "
                "(saturated or quantised outputs, or an input that is not used); try loss='dlr' or 'margin', or a "
                "model in float64"
            )


class _Watched:
    """An oracle whose gradients are looked at."""

    def __init__(self, oracle: Any, zeros: list[Tensor]) -> None:
        self._oracle, self._zeros = oracle, zeros

    def __getattr__(self, name: str) -> Any:
        return getattr(self._oracle, name)

    def gradient(self, *args: Any) -> Tensor:
        """As the oracle gives it."""
        found: Tensor = self._oracle.gradient(*args)
        self._zeros.append(~sloped(found))
        return found
