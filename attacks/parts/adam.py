"""Adam with a clock of its own in every row: Kingma and Ba 2014, algorithm 1 (arXiv 1412.6980)."""

from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.norms import per_row


class Adam(NamedTuple):
    """The running means of the gradient and of its square."""

    first: Tensor  # (M, ...)
    second: Tensor  # (M, ...)

    def updated(self, gradient: Tensor, *, shared: bool = False) -> "Adam":
        """With one more gradient (M, ...).

        Args:
            gradient: the gradient at the latest point.
            shared: True gives all entries of a row one mean square, so that the step keeps the gradients' direction.
        """
        square = gradient**2
        if shared:
            square = per_row(square.flatten(1).mean(1), square).expand_as(square)
        return Adam(0.9 * self.first + 0.1 * gradient, 0.999 * self.second + 0.001 * square)

    def move(self, k: Tensor, lr: Tensor) -> Tensor:
        """(M, ...): the k-th step, k (M,) int64 from 1, of length lr (M,) float64; it is to be subtracted."""
        rate = lr / (1 - 0.9 ** k.double())
        return per_row(rate, self.first).to(self.first.dtype) * self.first / self.width(k)

    def width(self, k: Tensor) -> Tensor:
        """(M, ...) > 0: what the k-th step, k (M,) int64 from 1, divides the gradient by, entry by entry."""
        width = per_row((1 - 0.999 ** k.double()) ** -0.5, self.second)
        return self.second.sqrt() * width.to(self.second.dtype) + 1e-8


def at_rest(like: Tensor) -> Adam:
    """No gradient yet."""
    none = torch.zeros_like(like)
    return Adam(none, none)
