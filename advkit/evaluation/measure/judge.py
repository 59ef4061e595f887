"""The verdicts of an evaluation: by the class, or by the caller's goal."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core import model_checks
from advkit.core.goals import targeted, untargeted, wide
from advkit.core.wishes import Wish

UNKNOWN = -1
"""The prediction where the outputs are no logits of classes."""


@dataclass(frozen=True)
class Judge:
    """What counts as an error.

    Attributes:
        wish: the goal of the caller; None means a class other than y.
    """

    wish: Wish | None = None

    @property
    def labelled(self) -> bool:
        """Whether y holds classes and the outputs are logits (N, K)."""
        return self.wish is None or self.wish.labelled

    def check(self, outputs: Tensor, x: Tensor, y: Tensor) -> None:
        """Check that the goal can judge the outputs.

        Raises:
            InputError: the shape is wrong, or answers to clean images are not finite.
        """
        if self.labelled:
            model_checks.check_answer(outputs, x, y)
        else:
            model_checks.check_outputs(outputs, x)
            model_checks.check_margin(self.bound(y).margin(outputs), outputs)

    def bound(self, y: Tensor, target: Tensor | None = None) -> Any:
        """Return the goal of a batch."""
        goal = untargeted(y) if target is None else targeted(target, y)
        return goal if self.wish is None else self.wish.bind(goal)

    def wrong(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return (N,) bool: clean images whose largest logit is not y's; with a goal, those that reach it already."""
        return outputs.argmax(1) != y if self.wish is None else self.beyond(outputs, y)

    def beyond(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return (N,) bool: attacked images that reach the goal; a tie does not."""
        reached: Tensor = self.bound(y).margin(outputs) > 0
        return reached

    def told(self, y: Tensor, outputs: Tensor, prefix: str = "") -> dict[str, Tensor]:
        """Return further columns of the outputs, on the CPU; the class is unknown if the outputs are no logits."""
        if not self.labelled:
            none = torch.zeros(len(y), dtype=torch.float64, device="cpu")
            own = {"confidence": none + torch.nan, "top5_wrong": none.bool()}
            told = {
                "prediction": torch.full((len(y),), UNKNOWN, device="cpu"),
                **{prefix + name: value for name, value in own.items()},
            }
            return {"y": torch.full((len(y),), UNKNOWN, device="cpu"), **told}
        below = (outputs > outputs.gather(1, y[:, None])).sum(1) >= 5
        return {
            "y": y.cpu(),
            "prediction": outputs.argmax(1).cpu(),
            prefix + "confidence": wide(outputs).softmax(1).amax(1).cpu().double(),
            prefix + "top5_wrong": below.cpu(),
        }


PLAIN = Judge()
